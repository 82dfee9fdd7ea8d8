"""Reports of made-up scores, for the tests of comparisons."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vae3d.comparison.comparison import compare_reports
from vae3d.comparison.reader import (
    named_runs,
    read_report,
)
from vae3d.comparison.results import Comparison
from vae3d.errors import UserError
from vae3d.report.result import CaseScore, EvaluationResult
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


NASTY = [
    "<script>alert(1)</script>", "&amp;", '" onload="x', "'", "a,b", "\u202egnp", "\x1b[2J", "",
    "</title><b>", "# case: x", "a\nb", "患者",
]  # fmt: skip
