"""Rows of scores and facts as text: no infinite range, one spelling, sensible digits."""

import csv
import math
from pathlib import Path

import pytest

from vae3d.report.facts import fact_lines
from vae3d.report.result import CaseScore, EvaluationResult
from vae3d.report.rows import score_row

UNITS = {"psnr": "dB", "psnr@floor": "dB", "mae": "HU", "mse": "HU^2", "nmse": ""}


def result_of(**values: list[float]) -> EvaluationResult:
    names = {name.replace("_at_", "@"): each for name, each in values.items()}
    count = len(next(iter(names.values())))
    cases = [
        CaseScore(f"case {n}", -1000, 1000, {name: each[n] for name, each in names.items()})
        for n in range(count)
    ]
    return EvaluationResult(cases, {"scores": {name: UNITS[name] for name in names}})


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ([40.0, 41.0], ["PSNR", "40.50", "0.71", "range 40.00 to 41.00", "dB"]),
        ([40.0], ["PSNR", "40.00", "-", "-", "dB"]),
        ([math.inf], ["PSNR", "\N{INFINITY}", "-", "1 of 1 identical", "dB"]),
        ([math.inf] * 8, ["PSNR", "\N{INFINITY}", "-", "8 of 8 identical", "dB"]),
        (
            [math.inf, 39.0, 41.0],
            ["PSNR", "-", "-", "1 of 3 identical, others 39.00 to 41.00", "dB"],
        ),
        ([math.inf, 39.0], ["PSNR", "-", "-", "1 of 2 identical, others 39.00", "dB"]),
        ([-math.inf, 39.0], ["PSNR", "-", "-", "1 of 2 infinite, others 39.00", "dB"]),
    ],
)  # fmt: skip
def test_identical_images_are_counted(values: list[float], row: list[str]) -> None:
    assert score_row(result_of(psnr=values), "psnr") == row


def test_an_infinite_error_is_not_called_identical() -> None:
    assert score_row(result_of(nmse=[math.inf, 0.5]), "nmse")[1:4] == [
        *("-", "-", "1 of 2 infinite, others 0.5000")
    ]


def test_the_summary_has_the_finite_range_and_the_count() -> None:
    score = result_of(psnr=[math.inf, 39.0, 41.0]).summary()["scores"]["psnr"]
    assert score == {
        **{"cases": 3, "mean": None, "std": None, "ci95": [None, None]},
        **{"min": 39.0, "max": 41.0, "infinite": 1, "unit": "dB"},
    }


def test_scores_are_a_plain_table(tmp_path: Path) -> None:
    """Every line is a row of the header's columns, and every score parses as a number."""
    result = result_of(psnr=[math.inf, 39.0], mse=[0.0, 2.5])
    result.write(tmp_path)
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [row["case_id"] for row in rows] == ["case 0", "case 1"]
    for row in rows:
        assert None not in row
        assert None not in row.values()
        numbers = {k: v for k, v in row.items() if k not in ("case_id", "voxels", "geometry")}
        assert [*numbers] == ["low", "high", "psnr", "mse"]
        assert not any(math.isnan(float(value)) for value in numbers.values())


def test_facts_as_text() -> None:
    facts = {
        "split": "test (2)",
        "model": {"name": "ct64", "weights": "best", "parameters": 1234567},
        "compression": {
            **{"ratio": 16.0, "factor": [4, 4, 4], "latent_channels": 4},
            **{"image_shape": [1, 64, 64, 60], "latent_shape": [4, 16, 16, 15]},
        },
        "scaling": {},
        "steps": {"trained": 600, "planned": 1000, "best": 500},
        "seed": 0,
        "date": "2026-01-02T03:04:05Z",
        "versions": {"vae3d": "1.0", "torch": "2.0"},
    }
    assert fact_lines(facts) == {
        "Split": "test (2)",
        "Model": "ct64 (best weights), 1,234,567 parameters",
        "Latent shape": "4 x 16 x 16 x 15 of an image of 1 x 64 x 64 x 60",
        "Compression": "16 to 1 (4 channels, a voxel for 4 x 4 x 4 voxels)",
        "Steps": "600 of 1,000, best at 500",
        "Seed": "0",
        "Date": "2026-01-02 03:04:05 UTC",
        "Versions": "vae3d 1.0, torch 2.0",
    }
    assert fact_lines({}) == {}
    distance = {"swd": {"mean": 0.15, "voxels_1": 0.2, "voxels_2": 0.1}}
    line = "0.15 (0.2 at voxels of 1, 0.1 at voxels of 2)"
    assert fact_lines({"sets": distance}) == {"Patch distance": line}
    assert fact_lines({"sets": {}}) == {}
    start = {"init_from": "runs/ct64", "started_from": ["other weights (step 4)", "owner/name"]}
    line = "runs/ct64: other weights (step 4), which started from owner/name"
    assert fact_lines(start) == {"Started from": line}
    assert fact_lines({"started_from": ["owner/name"]}) == {"Started from": "owner/name"}
    assert fact_lines({"started_from": None, "init_from": None}) == {}
    assert fact_lines({"steps": {"trained": 5, "planned": 5, "best": 5}}) == {"Steps": "5"}


def test_facts_of_a_stranger_are_short_lines() -> None:
    assert len(fact_lines({"data": "x" * 5000})["Data"]) < 600
