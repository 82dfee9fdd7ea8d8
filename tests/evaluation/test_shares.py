"""Means over scans that each have a range of their own."""

import csv
import json
from pathlib import Path

import pytest

from vae3d.evaluation.console import show
from vae3d.report.result import CaseScore, EvaluationResult

CASES = [
    CaseScore("a", 0.0, 1000.0, {"mae": 10.0, "mse": 400.0, "psnr": 30.0, "mae_model": 0.02}),
    CaseScore("b", 50.0, 150.0, {"mae": 3.0, "mse": 16.0, "psnr": 20.0, "mae_model": 0.06}),
]


def result(kind: str, unit: str) -> EvaluationResult:
    intensity = {"kind": kind, "low": 0.0, "high": 99.5, "unit": unit}
    scores = {"mae": unit, "mse": f"{unit}^2", "psnr": "dB", "mae_model": "model"}
    return EvaluationResult(CASES, {"scores": scores, "intensity": intensity, "mode": "full"})


def test_errors_of_unlike_ranges_are_averaged_as_shares(tmp_path: Path) -> None:
    made = result("percentiles", "a.u.")
    shares = made.in_shares()
    assert shares.mean("mae") == pytest.approx((0.01 + 0.03) / 2)
    assert shares.mean("mse") == pytest.approx((0.0004 + 0.0016) / 2)
    assert (shares.mean("psnr"), shares.mean("mae_model")) == (25.0, 0.04)
    units = {name: shares.unit(name) for name in shares.names}
    assert units == {
        "mae": "of the range", "mse": "of the range^2", "psnr": "dB", "mae_model": "model"
    }  # fmt: skip
    made.write(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["scores"]["mae"]["mean"] == shares.mean("mae")
    assert summary["scores"]["mae"]["unit"] == "of the range"
    # The table of the cases, and what reports must agree on, keep the scans' units.
    assert summary["protocol"]["scores"]["mae"] == "a.u."
    with (tmp_path / "scores.csv").open() as file:
        assert [float(row["mae"]) for row in csv.DictReader(file)] == [10.0, 3.0]


def test_errors_in_a_common_unit_are_averaged_in_it() -> None:
    made = result("window", "HU")
    assert made.in_shares() is made
    assert made.summary()["scores"]["mae"] == {
        "cases": 2, "unit": "HU", "mean": 6.5, "std": pytest.approx(4.95, abs=0.01),
        "ci95": [None, None], "min": 3.0, "max": 10.0,
    }  # fmt: skip


def test_the_terminal_names_the_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(result("percentiles", "a.u.").in_shares(), tmp_path)
    printed = capsys.readouterr().out
    assert "0.02000" in printed
    assert "of the range" in printed
    assert "a.u." not in printed
