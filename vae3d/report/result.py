"""`EvaluationResult`: the scores of every case with their protocol, and the files of both."""

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from vae3d.runtime.files import atomic_write, write_json
from vae3d.runtime.plain import finite_or_none
from vae3d.values.identity import ScanIdentity

CONFIDENCE = 0.95
"""Level of all confidence intervals."""


CASE_COLUMNS = ("case_id", "low", "high")
IDENTITY_COLUMNS = ("voxels", "geometry")
"""Columns of `scores.csv` before the scores; earlier versions wrote no identities."""


@dataclass(frozen=True)
class CaseScore:
    """The scores of one case by name, and the data range `low` to `high` that they refer to.

    A name is a metric of the whole volume (`psnr`), of a region (`psnr/bone`), or of a reference
    (`psnr@floor`). Scores that are undefined for the case, for lack of voxels, are left out.
    `identity` is that of the scan, if it is known.
    """

    case_id: str
    low: float
    high: float
    scores: dict[str, float]
    identity: ScanIdentity | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of all cases and their `protocol`, which must agree for runs to be compared.

    `latents` is the result of `LatentHealth.summary`, empty if it was not requested. `notes` are
    sentences that a reader of the scores must know.
    """

    cases: list[CaseScore]
    protocol: dict[str, Any]
    latents: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def values(self, name: str) -> list[float]:
        """Return one score over the cases that have it."""
        return [case.scores[name] for case in self.cases if name in case.scores]

    def mean(self, name: str) -> float:
        """Return the mean over the cases; NaN if there are none."""
        return statistics.fmean(values) if (values := self.values(name)) else math.nan

    def spread(self, name: str) -> float:
        """Return the standard deviation over the cases (n - 1); 0 for a single case."""
        return spread(self.values(name))

    def interval(self, name: str) -> tuple[float, float]:
        """Return the 95 % confidence interval of the mean over the cases; NaN if undefined."""
        return interval(self.values(name))

    @property
    def means(self) -> dict[str, float]:
        """The mean of every score of the whole volume."""
        return {name: self.mean(name) for name in self.names if is_plain(name)}

    @property
    def names(self) -> list[str]:
        """The names of the scores."""
        return [*self.protocol["scores"]]

    def unit(self, name: str) -> str:
        """Return the unit of a score."""
        return str(self.protocol["scores"][name])

    def write(self, folder: Path) -> None:
        """Write `scores.csv`, with a row per case, and `summary.json`, both with the protocol."""
        self._write_csv(folder / "scores.csv")
        write_json(folder / "summary.json", self.summary())

    def summary(self) -> dict[str, Any]:
        """Return the statistics of each score, the latents and the protocol as JSON values."""
        scores = {
            name: {
                "cases": len(self.values(name)),
                "mean": finite_or_none(self.mean(name)),
                "std": finite_or_none(self.spread(name)),
                "ci95": [finite_or_none(end) for end in self.interval(name)],
                "min": finite_or_none(min(self.values(name), default=math.nan)),
                "max": finite_or_none(max(self.values(name), default=math.nan)),
            }
            for name in self.names
        }
        return {
            "cases": len(self.cases),
            "scores": scores,
            "notes": self.notes,
            "latents": self.latents,
            "protocol": self.protocol,
        }

    def _write_csv(self, path: Path) -> None:
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            for key, value in self.protocol.items():
                file.write(f"# {key}: {value}\n")
            writer = csv.writer(file)
            writer.writerow([*CASE_COLUMNS, *IDENTITY_COLUMNS, *self.names])
            for case in self.cases:
                row = [case.scores.get(name, "") for name in self.names]
                identity = astuple(case.identity) if case.identity else ("", "")
                writer.writerow([case.case_id, case.low, case.high, *identity, *row])


def is_plain(name: str) -> bool:
    """Whether a score is of the whole volume and of the reconstruction of the model."""
    return "/" not in name and "@" not in name


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation (n - 1); 0 for fewer than two values or infinite ones."""
    finite = all(map(math.isfinite, values))
    return statistics.stdev(values) if len(values) > 1 and finite else 0.0


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % Student t interval of the mean; NaN for fewer than two finite values."""
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return mean - half, mean + half
