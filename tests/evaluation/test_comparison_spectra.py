"""The curves of sharpness of two runs: of the cases that both have, and never in the way."""

import csv
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evaluation.reports import CASES, compared, scored, written
from tests.evaluation.test_spectra import measured
from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.page import page
from vae3d.comparison.reader import named_runs, read_report
from vae3d.comparison.results import Comparison
from vae3d.comparison.spectra import spectrum_charts
from vae3d.report.result import EvaluationResult
from vae3d.scoring.scores import label_of


def sharp(seed: int, scale: float, cases: list[str]) -> EvaluationResult:
    """Scores with curves whose power kept is the square of `scale`."""
    result = scored(seed, cases)
    return replace(
        result,
        cases=[
            replace(case, sharpness=measured(n, 1.0, scale)) for n, case in enumerate(result.cases)
        ],
    )


def heights(svg: str, kind: str) -> list[float]:
    """The heights of a curve in a chart, from the top."""
    root = ET.fromstring(svg)
    (line,) = [e for e in root.iter() if str(e.get("class")) == f"line {kind}"]
    return [float(point.split(",")[1]) for point in str(line.get("points")).split()]


def reread(runs: list[str]) -> Comparison:
    names = named_runs(runs)
    return compare_reports(
        [read_report(run, "full", name) for run, name in zip(runs, names, strict=True)]
    )


def test_each_run_has_a_curve_of_the_common_cases(tmp_path: Path) -> None:
    first, second = sharp(0, 0.5, CASES[:3]), sharp(1, 1.0, CASES[1:3])
    # A case that only the first run has does not count, whatever its curve is.
    odd = replace(first.cases[0], sharpness=measured(9, 1.0, 30.0))
    first = replace(first, cases=[odd, *first.cases[1:]])
    comparison = compared(tmp_path, first, second)
    charts = dict(spectrum_charts(comparison))
    assert [*charts] == ["Power kept", "Fourier shell correlation"]
    low, high = (heights(charts["Power kept"], f"series-{n}") for n in (0, 1))
    assert max(low) - min(low) < 0.2
    assert max(high) - min(high) < 0.2
    assert low[0] > high[0] + 10, "less power is lower on the page"
    equal = [heights(charts["Fourier shell correlation"], f"series-{n}") for n in (0, 1)]
    assert equal[0] == pytest.approx(equal[1], abs=0.2)
    text = page(comparison)
    assert text.count("<polyline") == sum(svg.count("<polyline") for svg in charts.values())
    assert "://" not in text
    assert not re.search(r"nan\b", "".join(charts.values()))


def test_reports_without_curves_are_compared_as_before(tmp_path: Path) -> None:
    runs = written(tmp_path, scored(0, CASES[:3]), sharp(1, 1.0, CASES[:3]))
    comparison = reread(runs)
    assert spectrum_charts(comparison) == []
    assert "<h2>Sharpness</h2>" not in page(comparison)


@pytest.mark.parametrize(
    "text",
    ["", "\x00" * 50, "case_id,unit,frequency,power_kept,fsc\ncase0,cycles per voxel,x,1,1\n",
     "case_id,unit,frequency,power_kept,fsc\ncase0\n",
     "case_id,unit,frequency,power_kept,fsc\ncase0,cycles per voxel,0.1,inf,1\n"],
    ids=["empty", "zeros", "no number", "short", "infinite"],
)  # fmt: skip
def test_damaged_curves_are_left_out_with_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = written(tmp_path, sharp(0, 0.5, CASES[:2]), sharp(1, 1.0, CASES[:2]))
    (Path(runs[1]) / "report/full/spectra.csv").write_text(text)
    assert spectrum_charts(reread(runs)) == []
    lines = [line for line in capsys.readouterr().err.splitlines() if "no curves of" in line]
    assert len(lines) == 1


def test_sharpness_is_compared_with_reports_of_earlier_versions(tmp_path: Path) -> None:
    """Scores that only one report has are a note, and definitions of one are no difference."""
    new = scored(0, CASES[:6])
    protocol = {**new.protocol, "sharpness": {"power": "one"}}
    protocol["scores"] = {**new.protocol["scores"], "power_fine": ""}
    cases = [replace(c, scores={**c.scores, "power_fine": 0.5}) for c in new.cases]
    comparison = compared(
        tmp_path, replace(new, cases=cases, protocol=protocol), scored(1, CASES[:6])
    )
    assert f"only in a: {label_of('power_fine')}" in comparison.notes
    with (tmp_path / "a/report/full/scores.csv").open(newline="") as file:
        assert "power_fine" in next(csv.reader(file))
