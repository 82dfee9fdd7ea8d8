"""Comparisons: paired by name, against scipy; incomparable reports raise an error."""

import base64
import csv
import dataclasses
import hashlib
import html.parser
import itertools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tests.conftest import vae3d
from vae3d.cli.compose import composed
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.comparison.comparison import MAY_DIFFER, Comparison, compare_reports
from vae3d.comparison.page import page
from vae3d.comparison.reader import (
    MAX_SCORES_BYTES,
    named_runs,
    read_report,
    read_scores,
)
from vae3d.errors import UserError
from vae3d.report.result import CaseScore, EvaluationResult
from vae3d.scoring.scores import significant
from vae3d.values.identity import ScanIdentity

UNITS = {"psnr": "dB", "mae": "HU", "psnr/bone": "dB", "mae@floor": "HU"}
PROTOCOL: dict[str, Any] = {
    "scores": UNITS,
    "intensity": {"kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU"},
    "data_range": "the intensity range, high - low",
    "crop": "none",
    "regions": {"bone": "[150, inf) HU"},
    "ssim": "Gaussian window 11",
    "mode": "full",
    "patch_size": None,
    "overlap": None,
    "blend": None,
    "latent": "mode of the posterior",
    "precision": "fp32",
}
CASES = [f"case{n}" for n in range(12)]


def scored(seed: int, cases: list[str] = CASES, **protocol: Any) -> EvaluationResult:
    """Scores that differ from seed to seed, but not their floor."""
    rng = np.random.default_rng(seed)
    case_scores = []
    for case in cases:
        psnr, mae, bone = rng.normal(30, 2), rng.uniform(10, 20), rng.normal(25, 2)
        floor = float(sum(case.encode()))
        scores = {"psnr": psnr, "mae": mae, "psnr/bone": bone, "mae@floor": floor}
        identity = ScanIdentity(f"v{case.encode().hex()}", "grid")
        case_scores.append(CaseScore(case, -1000.0, 1000.0, scores, identity))
    return EvaluationResult(case_scores, {**PROTOCOL, **protocol})


def written(folder: Path, *results: EvaluationResult) -> list[str]:
    """Runs a, b, c, ... with these reports."""
    runs = []
    for name, result in zip("abcdef", results, strict=False):
        run = folder / name
        run.mkdir(exist_ok=True)
        (run / "config.yaml").write_text("")
        result.write(run / "report" / str(result.protocol["mode"]))
        runs.append(str(run))
    return runs


def compared(folder: Path, *results: EvaluationResult) -> Comparison:
    runs = written(folder, *results)
    modes = [result.protocol["mode"] for result in results]
    names = named_runs(runs)
    return compare_reports([read_report(*each) for each in zip(runs, modes, names, strict=True)])


def refusal(folder: Path, *results: EvaluationResult) -> str:
    with pytest.raises(UserError) as refused:
        compared(folder, *results)
    assert "\n" not in str(refused.value)
    return str(refused.value)


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
    assert moved.notes == ["b: same voxels at another place or spacing: 1 cases"]


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
    assert "seam: only in b" in comparison.notes
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
    assert "vae3d eval" in line


@pytest.mark.parametrize("key", MAY_DIFFER)
def test_permitted_differences_are_notes(tmp_path: Path, key: str) -> None:
    comparison = compared(tmp_path, scored(0), scored(1, **{key: "patch"}))
    assert comparison.notes == [f"{key}: {PROTOCOL[key]} in a, patch in b"]


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
    assert comparison.notes[0].startswith("intensity: ")


def test_another_grid_is_a_note(tmp_path: Path) -> None:
    other = scored(1)
    for case in other.cases:
        case.scores["mae@floor"] *= 2
    (note,) = compared(tmp_path, scored(0), other).notes
    assert note.startswith("b sees the scans on another grid (mae@floor")


def test_errors_of_missing_reports_name_the_command(tmp_path: Path) -> None:
    runs = written(tmp_path, scored(0), scored(1))
    for run, mode, message in (
        (
            runs[1],
            "patch",
            f"has no report of mode=patch; create it with: vae3d eval run={runs[0]} ",
        ),
        (str(tmp_path / "none"), "full", "no such folder"),
        (str(tmp_path), "full", "neither a run folder nor a report"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            compare(CompareConfig(run=[runs[0], run], mode=mode, output=str(tmp_path / "out")))
    for wrong, message in (
        ([], "must name two or more run folders"),
        (runs[:1], "must name two or more run folders"),
        ([runs[0], f"{runs[0]}/../a"], "twice"),
    ):
        with pytest.raises(UserError, match=message):
            compare(CompareConfig(run=wrong))
    assert not (tmp_path / "out").exists()


def edited(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("scores.csv", lambda t: t[:-10], "line 13: is truncated"),
        ("scores.csv", lambda t: t.replace("case3", "case2"), "line 5: case case2 appears twice"),
        ("scores.csv", lambda t: t.replace("-1000.0,1000.0", "x,y", 1), "line 2: low must be a"),
        ("scores.csv", lambda t: t.replace("case3,", "case3,nan,"), "line 5: has 10 cells"),
        ("scores.csv", lambda t: t.replace("case_id", "case"), "line 1: must be case_id"),
        ("scores.csv", lambda t: t.split("case_id")[0], "line 0: must be"),
        ("scores.csv", lambda t: "", "line 0: must be case_id"),
        ("scores.csv", lambda t: t + "x" * 200_000 + "\n", "field larger than field limit"),
        ("scores.csv", lambda t: t + "z,1,2,,,3,4,5,6\n", "do not match"),
        ("scores.csv", lambda t: t + '"z,1,2,3,4,5,6\n', "line 14: has 1 cells"),
        ("summary.json", lambda t: t[:-20], "cannot be read"),
        ("summary.json", lambda t: "[]", "must be a table"),
        ("summary.json", lambda t: '{"cases": 12}', "protocol must be a table"),
        ("summary.json", lambda t: t.replace('"scores"', '"metrics"'), "protocol.scores must be"),
    ],
    ids=range(14),
)  # fmt: skip
def test_damaged_reports_are_named(
    tmp_path: Path, file: str, change: Callable[[str], str], message: str
) -> None:
    (run,) = written(tmp_path, scored(0))
    folder = tmp_path / "a/report/full"
    edited(folder / file, change)
    with pytest.raises(UserError) as refused:
        read_report(run, "full", "a")
    assert str(folder) in str(refused.value)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_scores_of_any_size_or_kind_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with path.open("wb") as file:
        file.truncate(MAX_SCORES_BYTES + 1)
    with pytest.raises(UserError, match="has more than"):
        read_scores(path)
    path.write_bytes(b"case_id,low,high\n\xff,0,1\n")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        read_scores(path)


NASTY = [
    "<script>alert(1)</script>", "&amp;", '" onload="x', "'", "a,b", "\u202egnp", "\x1b[2J", "",
    "</title><b>", "# case: x", "a\nb", "患者",
]  # fmt: skip


def test_any_name_goes_there_and_back(tmp_path: Path) -> None:
    (run,) = written(tmp_path, scored(0, NASTY))
    assert [*read_report(run, "full", "a").cases] == NASTY


class Tags(html.parser.HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_name_is_markup_of_the_page(tmp_path: Path) -> None:
    """The page of nasty names has the tags and attributes of one with plain names."""
    texts = []
    for names, run in ((NASTY, "<b>&\"' onload=x"), (CASES, "plain")):
        (tmp_path / run).mkdir()
        runs = written(tmp_path / run, scored(0, names[:-2]), scored(1, names))
        reports = [read_report(r, "full", f"{run} {n}") for n, r in enumerate(runs)]
        texts.append(page(compare_reports(reports)))
    nasty, plain = map(Tags, texts)
    assert [(tag, [*attributes]) for tag, attributes in nasty.tags] == [
        (tag, [*attributes]) for tag, attributes in plain.tags
    ]
    assert "<b>&\"' onload=x 0" in nasty.text
    assert "\x1b" not in texts[0]
    assert "\u202e" not in texts[0]


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    text = page(compared(tmp_path, scored(0), scored(1), scored(2)))
    tags = Tags(text)
    assert not {"script", "link", "img", "iframe", "object", "a"} & {tag for tag, _ in tags.tags}
    names = {name for _, attributes in tags.tags for name in attributes}
    assert not {name for name in names if name in ("src", "href", "style") or name[:2] == "on"}
    assert "://" not in text
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert sum(tag == "svg" for tag, _ in tags.tags) == 2 * len(UNITS)


def test_dots_lie_where_better_is(tmp_path: Path) -> None:
    comparison = compared(tmp_path, scored(0), scored(1))
    dots = [float(x) for x in re.findall(r'<circle cx="([0-9.]+)"', page(comparison))]
    for score, dot in zip(comparison.scores, dots, strict=True):
        (difference,) = score.differences
        assert np.sign(dot - 120) == np.sign(difference.mean * score.direction)
        assert 0 <= dot <= 240


@pytest.mark.parametrize(
    ("value", "text"),
    [(20578.4, "20,578"), (23.068, "23.07"), (0.0, "0"), (-0.00207, "-0.002070"),
     (math.nan, "-"), (math.inf, "inf"), (1e9, "1e+09"), (1e-7, "1e-07"), (999.96, "1,000.0")],
)  # fmt: skip
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert significant(value) == text


PATHS = [
    "runs/a", "a b", "a,b", "runs/s/model.latent_channels=2,trainer.lr=0.1", "it's", 'say "x"',
    "a\\", "a\\'b",
    "[x]", "{x}", "(x)", "日本語/é", "x=[1,2]/y", "1e5", "true", "null", "a#b", "$x",
]  # fmt: skip


def typed(name: str, *words: str) -> list[str]:
    return Line.of(COMMANDS[name], words).words


@pytest.mark.parametrize("path", PATHS)
def test_runs_arrive_as_they_were_typed(path: str) -> None:
    def arrived(*arguments: str) -> list[str]:
        config: Any = composed("compare", *typed("compare", *arguments))
        assert config.mode == "patch"
        return list(config.run)

    assert arrived(f"./{path}", "b", "mode=patch") == [f"./{path}", "b"]
    assert arrived(f"run={path}x", "mode=patch") == [f"{path}x"]
    if not set(path) & set(",'\"\\"):
        assert arrived(f"run=[{path},b]", "mode=patch") == [path, "b"]
    if not set(path) & set("'\\"):
        assert arrived(f"run=['{path}', b]", "mode=patch") == [path, "b"]


def test_a_path_with_an_equal_sign_is_no_key() -> None:
    run = composed("compare", *typed("compare", "runs/a=1", "mode=full")).run
    assert run == ["runs/a=1"]
    assert typed("compare", "--cfg", "job") == ["--cfg", "job"]
    assert typed("compare", "hydra/launcher=x") == ["hydra/launcher=x"]
    assert composed("eval", *typed("eval", "run=[a]")).run == "[a]"


def test_the_command_writes_next_to_the_scores_of_the_first_run(tmp_path: Path) -> None:
    other = [*CASES[1:], "\x1b[2J"]
    runs = written(tmp_path, scored(0), scored(1, other), scored(2, latent="sample"))
    done = vae3d("compare", "a", "b", "c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    output = Path("a/report/full/compare_b_c")
    assert done.stderr.splitlines() == [
        "latent: mode of the posterior in a, sample in c",
        "not in all runs: 2 cases: case0 (a, c), ?[2J (b)",
        f"table: {output / 'compare.html'}",
    ]
    comparison = compare(CompareConfig(run=runs, output=str(tmp_path / "out")))
    for name in ("compare.csv", "compare.html"):
        assert (tmp_path / output / name).read_text() == (tmp_path / "out" / name).read_text()
    with (tmp_path / "out/compare.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 3 * len(UNITS)
    for row, score in zip(rows[1::3], comparison.scores, strict=True):
        difference = score.differences[0]
        assert row["run"] == "b"
        assert float(row["low"]) == difference.low
        assert row["verdict"] == score.verdict(difference)
        assert significant(difference.mean, "+") in done.stdout or "@" in score.name
    saved = json.loads((tmp_path / "out/compare.json").read_text())
    assert saved["cases"] == CASES[1:]
    assert saved["only_some"] == {"case0": ["a", "c"], "\x1b[2J": ["b"]}
    refused = vae3d("compare", "a", "b", "mode=patch", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "vae3d: a: has no report of mode=patch; create it with: vae3d eval run=a mode=patch\n"
    )


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
    assert any(note.startswith("psnr@jpeg: only in ") for note in comparison.notes)


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
        assert d.ends_text.startswith("range ")
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


def test_reports_of_older_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("# mode: full\n# crop: none\ncase_id,low,high,psnr\na,0,1,30.5\n")
    columns, cases = read_scores(path)
    assert columns == ["psnr"]
    assert cases["a"].scores == {"psnr": 30.5}
