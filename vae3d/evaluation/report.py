"""`EvaluationResult`: the scores of every case with their protocol, and their files."""

import csv
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.runtime.files import atomic_write, write_json


@dataclass(frozen=True)
class CaseScore:
    """The metrics of one case by name, and the range of the scan they refer to."""

    case_id: str
    low: float
    high: float
    scores: dict[str, float]


@dataclass(frozen=True)
class EvaluationResult:
    """Scores of all cases and `protocol`: what must be known to compare them with others."""

    cases: list[CaseScore]
    protocol: dict[str, Any]

    def values(self, metric: str) -> list[float]:
        """One metric over the cases."""
        return [case.scores[metric] for case in self.cases]

    def mean(self, metric: str) -> float:
        """The mean over the cases; NaN where there are none."""
        return statistics.fmean(self.values(metric)) if self.cases else math.nan

    def spread(self, metric: str) -> float:
        """The standard deviation over the cases (n - 1); 0 for a single one."""
        values = self.values(metric)
        finite = all(map(math.isfinite, values))
        return statistics.stdev(values) if len(values) > 1 and finite else 0.0

    @property
    def means(self) -> dict[str, float]:
        """The mean of every metric."""
        return {name: self.mean(name) for name in self.metrics}

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics."""
        return [*self.protocol["metrics"]]

    def write(self, folder: Path) -> None:
        """Writes `scores.csv`, a row a case, and `summary.json`, both with the protocol."""
        self._write_csv(folder / "scores.csv")
        write_json(folder / "summary.json", self.summary())

    def summary(self) -> dict[str, Any]:
        """Mean, spread, least and greatest of each metric, and the protocol, as JSON values."""
        scores = {
            name: {
                "mean": finite_or_none(self.mean(name)),
                "std": finite_or_none(self.spread(name)),
                "min": finite_or_none(min(self.values(name), default=math.nan)),
                "max": finite_or_none(max(self.values(name), default=math.nan)),
            }
            for name in self.metrics
        }
        return {"cases": len(self.cases), "scores": scores, "protocol": self.protocol}

    def _write_csv(self, path: Path) -> None:
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            for key, value in self.protocol.items():
                file.write(f"# {key}: {value}\n")
            writer = csv.writer(file)
            writer.writerow(["case_id", "low", "high", *self.metrics])
            for case in self.cases:
                row = [case.scores[name] for name in self.metrics]
                writer.writerow([case.case_id, case.low, case.high, *row])


def finite_or_none(value: float) -> float | None:
    """JSON has no infinity: a perfect reconstruction's PSNR becomes null."""
    return value if math.isfinite(value) else None
