"""Comparisons: paired by scan, against scipy; incomparable reports raise an error."""

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tests.evaluation.reports import CASES, PROTOCOL, UNITS, compared, refusal, scored
from vae3d.comparison.comparison import MAY_DIFFER
from vae3d.comparison.page import page
from vae3d.report.result import CaseScore, EvaluationResult
from vae3d.values.identity import ScanIdentity


def test_intervals_are_those_of_the_paired_t_test(tmp_path: Path) -> None:
    results = [scored(seed) for seed in range(3)]
    comparison = compared(tmp_path, *results)
    assert [score.name for score in comparison.scores] == [*UNITS]
    for score in comparison.scores[:3]:
        first, *others = (np.array(result.values(score.name)) for result in results)
        assert score.means == pytest.approx([values.mean() for values in (first, *others)])
        for values, difference in zip(others, score.differences, strict=True):
            test = ttest_rel(values, first)
            interval = test.confidence_interval(0.95)
            assert difference.mean == pytest.approx((values - first).mean())
            assert (difference.low, difference.high) == pytest.approx([*interval])
            assert difference.is_clear == (test.pvalue < 0.05)
            assert difference.better == ((values - first) * score.direction > 0).sum()
            assert difference.worse == ((values - first) * score.direction < 0).sum()


def test_cases_are_paired_by_name_whatever_their_order(tmp_path: Path) -> None:
    results = [scored(0), scored(1)]
    rng = np.random.default_rng(3)
    mixed = [
        dataclasses.replace(r, cases=[r.cases[n] for n in rng.permutation(len(r.cases))])
        for r in results
    ]
    one, other = compared(tmp_path, *results), compared(tmp_path, *mixed)
    assert sorted(one.common) == sorted(other.common) == sorted(CASES)
    for a, b in zip(one.scores, other.scores, strict=True):
        assert a.means == pytest.approx(b.means, rel=1e-12)
        for x, y in zip(a.differences, b.differences, strict=True):
            assert (x.low, x.high) == pytest.approx((y.low, y.high), rel=1e-9)
            assert (x.better, x.worse) == (y.better, y.worse)


def test_turned_round_every_difference_changes_its_sign(tmp_path: Path) -> None:
    forth = compared(tmp_path, scored(0), scored(1))
    back = compared(tmp_path, scored(1), scored(0))
    for a, b in zip(forth.scores, back.scores, strict=True):
        (x,), (y,) = a.differences, b.differences
        assert (x.mean, x.low, x.high) == pytest.approx((-y.mean, -y.high, -y.low))
        assert (x.better, x.worse) == (y.worse, y.better)


def test_better_is_more_decibels_and_less_error(tmp_path: Path) -> None:
    base = scored(0)
    better = [
        CaseScore(c.case_id, c.low, c.high, {n: v + (1 if "psnr" in n else -1) + 0.01 * k
                                             for n, v in c.scores.items()}, c.identity)
        for k, c in enumerate(base.cases)
    ]  # fmt: skip
    comparison = compared(tmp_path, base, dataclasses.replace(base, cases=better))
    for score in comparison.scores:
        (difference,) = score.differences
        assert score.verdict(difference) == "better"
        assert (difference.better, difference.worse) == (len(CASES), 0)


def with_seams(result: EvaluationResult, seams: list[float]) -> EvaluationResult:
    cases = [
        dataclasses.replace(case, scores={**case.scores, "seam": seam})
        for case, seam in zip(result.cases, seams, strict=True)
    ]
    return dataclasses.replace(
        result, cases=cases, protocol={**PROTOCOL, "scores": {**UNITS, "seam": ""}}
    )


@pytest.mark.parametrize("side", [-1, 1])
def test_a_better_seam_is_nearer_to_1_from_either_side(tmp_path: Path, side: int) -> None:
    far = [1 + side * (0.2 + 0.01 * n) for n in range(len(CASES))]
    near = [1 - side * 0.1 for _ in CASES]
    forth = compared(tmp_path, *(with_seams(scored(0), seams) for seams in (far, near)))
    back = compared(tmp_path, *(with_seams(scored(0), seams) for seams in (near, far)))
    for comparison, verdict, counts in (
        (forth, "better", (len(CASES), 0)), (back, "worse", (0, len(CASES))),
    ):  # fmt: skip
        score = comparison.scores[-1]
        (difference,) = score.differences
        assert score.name == "seam"
        assert difference.mean == pytest.approx(score.means[1] - score.means[0])
        assert score.verdict(difference) == verdict
        assert (difference.better, difference.worse) == counts
        (*_, dot) = (float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', page(comparison)))
        assert (dot > 120) == (verdict == "better")
    assert forth.summary()["scores"]["seam"]["better"] == "nearer to 1"


def test_seams_as_far_above_1_as_below_are_no_gain(tmp_path: Path) -> None:
    below = [0.75 + 0.0625 * (n % 2) for n in range(len(CASES))]
    comparison = compared(
        tmp_path, with_seams(scored(0), below), with_seams(scored(0), [2 - s for s in below])
    )
    (difference,) = comparison.scores[-1].differences
    assert difference.low > 0
    assert (difference.better, difference.worse) == (0, 0)
    assert comparison.scores[-1].verdict(difference) == ""


def held(result: EvaluationResult, *identities: ScanIdentity | None) -> EvaluationResult:
    """The result with these identities of its first cases."""
    pairs = itertools.zip_longest(result.cases, identities, fillvalue=False)
    cases = [
        case if identity is False else dataclasses.replace(case, identity=identity)
        for case, identity in pairs
    ]
    return dataclasses.replace(result, cases=cases)


def test_scans_are_paired_by_their_voxels(tmp_path: Path) -> None:
    """Under other names they are the same; other scans of the same names are not."""
    first, second = scored(0), scored(1)
    expected = compared(tmp_path, first, second)
    renamed = [dataclasses.replace(c, case_id=f"x/{c.case_id}") for c in second.cases]
    other = compared(tmp_path, first, dataclasses.replace(second, cases=renamed))
    assert other.scores == expected.scores
    assert other.notes == []
    mixed = held(second, *(ScanIdentity(name, "grid") for name in "pqr"))
    comparison = compared(tmp_path, first, mixed)
    assert comparison.common == CASES[3:]
    assert comparison.notes == [
        "b: same name, other voxels: 3 of 12 cases (case0, case1, case2), not compared"
    ]
    message = refusal(
        tmp_path, first, held(second, *(ScanIdentity(c, "") for c in "abcdefghijkl"))
    )
    assert "no case is in all of a, b" in message
    assert "same name, other voxels: 12 of 12" in message


def test_scans_that_are_known_by_name_or_were_moved_are_noted(tmp_path: Path) -> None:
    first, second = scored(0), scored(1)
    comparison = compared(tmp_path, first, held(second, None))
    assert comparison.common == CASES
    assert comparison.notes == [
        "b: its scans are known by name only (written by an earlier version)"
    ]
    moved = compared(
        tmp_path, first, held(second, ScanIdentity(f"v{b'case0'.hex()}", "elsewhere"))
    )
    assert moved.common == CASES
    assert moved.notes == ["b: same voxels at another place or spacing: 1 case"]


def test_a_run_does_not_differ_from_its_copy(tmp_path: Path) -> None:
    perfect = scored(0)
    perfect.cases[0].scores["psnr"] = math.inf
    comparison = compared(tmp_path, perfect, perfect)
    for score in comparison.scores:
        (difference,) = score.differences
        assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
        assert (difference.better, difference.worse) == (0, 0)
        assert score.verdict(difference) == ""
    assert comparison.notes == []


def test_infinite_scores_are_counted_but_have_no_interval(tmp_path: Path) -> None:
    perfect, other = scored(0), scored(0)
    perfect.cases[0].scores["psnr"] = math.inf
    comparison = compared(tmp_path, other, perfect)
    (difference,) = comparison.scores[0].differences
    assert (difference.better, difference.worse) == (1, 0)
    assert math.isnan(difference.low)
    assert not difference.is_clear
    comparison.write(tmp_path / "out")
    saved = json.loads((tmp_path / "out/compare.json").read_text())
    assert saved["scores"]["psnr"]["means"]["b"] is None


def test_only_what_all_have_is_compared(tmp_path: Path) -> None:
    first, second = scored(0, CASES[:9]), scored(1, CASES[3:])
    del second.cases[0].scores["psnr/bone"]
    second.protocol["scores"] = {**UNITS, "seam": ""}
    for case in second.cases:
        case.scores["seam"] = 1.0
    comparison = compared(tmp_path, first, second)
    assert comparison.common == CASES[3:9]
    assert comparison.partial == {
        **{case: ["a"] for case in CASES[:3]}, **{case: ["b"] for case in CASES[9:]},
    }  # fmt: skip
    assert {score.name: score.cases for score in comparison.scores} == {
        "psnr": 6, "mae": 6, "psnr/bone": 5, "mae@floor": 6,
    }  # fmt: skip
    assert "only in b: Seam" in comparison.notes
    bone = {c.case_id: c.scores.get("psnr/bone") for c in first.cases}
    assert comparison.scores[2].means[0] == pytest.approx(np.mean([bone[c] for c in CASES[4:9]]))


def test_no_common_case_is_refused(tmp_path: Path) -> None:
    line = refusal(tmp_path, scored(0, CASES[:3]), scored(1, CASES[3:]))
    assert "no case is in all of a, b" in line
    assert "split=all" in line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop", "[16] around the centre"),
        ("data_range", "[0, 1] HU"),
        ("intensity", {"kind": "window", "low": -1000.0, "high": 2000.0, "unit": "HU"}),
        ("ssim", "window 7"),
        ("regions", {"bone": "[300, inf) HU"}),
        ("scores", {**UNITS, "mae": "intensity"}),
        ("mask", "body"),
    ],
)
def test_scores_of_other_protocols_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    line = refusal(tmp_path, scored(0), scored(1, **{key: value}))
    assert "a and b cannot be compared, because they were scored differently" in line
    assert key in line
    assert "{" not in line, "what differs is named, not printed as Python has it"
    assert "vae3d eval" in line


@pytest.mark.parametrize("key", MAY_DIFFER)
def test_permitted_differences_are_notes(tmp_path: Path, key: str) -> None:
    comparison = compared(tmp_path, scored(0), scored(1, **{key: "patch"}))
    # Reports of earlier versions do not have the last two.
    known = {"resampling": "linear", "reader": 1, **PROTOCOL}[key]
    assert comparison.notes == [f"{key}: {known} in a, patch in b"]
    assert compared(tmp_path, scored(0), scored(1, **{key: known})).notes == []


def test_other_regions_are_no_other_protocol(tmp_path: Path) -> None:
    comparison = compared(tmp_path, scored(0), scored(1, regions={}))
    assert comparison.notes == []


def ranged(result: EvaluationResult, **changes: float) -> EvaluationResult:
    cases = [dataclasses.replace(case, **changes) for case in result.cases]
    return dataclasses.replace(result, cases=cases)


def test_a_scan_on_another_range_is_refused(tmp_path: Path) -> None:
    line = refusal(tmp_path, scored(0), ranged(scored(1), high=900.0))
    assert "case0 was scored on [-1000, 1000] in a and on [-1000, 900] in b" in line


def test_within_one_window_models_may_see_other_ranges(tmp_path: Path) -> None:
    other_range = {"kind": "window", "low": -1000.0, "high": 900.0, "unit": "HU"}
    window = {"data_range": "[-160, 240] HU"}
    comparison = compared(
        tmp_path,
        scored(0, **window),
        ranged(scored(1, intensity=other_range, **window), high=900.0),
    )
    assert comparison.notes[0].startswith("intensity.high: ")


def test_another_grid_is_a_note(tmp_path: Path) -> None:
    other = scored(1)
    for case in other.cases:
        case.scores["mae@floor"] *= 2
    (note,) = compared(tmp_path, scored(0), other).notes
    assert note.startswith("b sees the scans on another grid (MAE (floor)")


def with_baseline(result: EvaluationResult) -> EvaluationResult:
    """The report with a score of JPEG and its description."""
    cases = [
        dataclasses.replace(c, scores={**c.scores, "psnr@jpeg": 20.0 + n})
        for n, c in enumerate(result.cases)
    ]
    protocol = {**result.protocol, "scores": {**UNITS, "psnr@jpeg": "dB"}, "@jpeg": "JPEG"}
    return EvaluationResult(cases, protocol)


@pytest.mark.parametrize("order", [1, -1])
def test_scores_that_both_have_are_compared(tmp_path: Path, order: int) -> None:
    results = [with_baseline(scored(0)), scored(1)][::order]
    comparison = compared(tmp_path, *results)
    assert [score.name for score in comparison.scores] == [*UNITS]
    assert any(re.fullmatch("only in .: PSNR \\(jpeg\\)", note) for note in comparison.notes)


def test_two_definitions_of_a_baseline_are_not_compared(tmp_path: Path) -> None:
    one, other = with_baseline(scored(0)), with_baseline(scored(1))
    other.protocol["@jpeg"] = "JPEG 2000"
    assert "@jpeg: JPEG -> JPEG 2000" in refusal(tmp_path, one, other)


def test_fewer_than_six_cases_have_a_range_and_no_verdict(tmp_path: Path) -> None:
    comparison = compared(tmp_path, scored(0, CASES[:5]), scored(1, CASES[:5]))
    for score in comparison.scores:
        (d,) = score.differences
        assert math.isnan(d.low)
        assert score.verdict(d) == ""
        assert d.ends == (d.smallest, d.largest)
        assert d.ends_text(score.name).startswith("range ")
    assert "range " in page(comparison)
    summary = comparison.summary()["scores"]["psnr"]["differences"]["b"]
    assert summary["ci95"] == [None, None]
    assert summary["range"][0] < summary["mean"] < summary["range"][1]


def test_differences_end_where_scores_end(tmp_path: Path) -> None:
    protocol = {**PROTOCOL, "scores": {"mae": "HU"}}

    def report(values: list[float]) -> EvaluationResult:
        cases = [CaseScore(str(n), -1000.0, 1000.0, {"mae": v}) for n, v in enumerate(values)]
        return EvaluationResult(cases, protocol)

    (score,) = compared(tmp_path, report([0, 0, 0, 0, 0, 9]), report([0.0] * 6)).scores
    (d,) = score.differences
    assert (d.mean, d.low) == (-1.5, -1.5), "no MAE is below 0"
    assert d.high > 0
    assert (d.gain.low, d.gain.high) == pytest.approx((-d.high, -d.low))
