"""`EvaluationResult`: the scores of every case with their protocol, and the files of both."""

import csv
import math
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from vae3d.files.atomic import atomic_write, write_json
from vae3d.files.checksums import sealing
from vae3d.files.plain import finite_or_none
from vae3d.report.spectra import NAME as SPECTRA
from vae3d.report.spectra import spectra_summary, write_spectra
from vae3d.runtime.messages import counted
from vae3d.scoring.scores import bounds_of, worth
from vae3d.scoring.sharpness import Sharpness
from vae3d.values.identity import ScanIdentity

CONFIDENCE = 0.95
"""Level of all confidence intervals."""
MIN_INTERVAL_CASES = 6
"""Cases that an interval needs, at least: of fewer, the t interval is mostly the width of the
quantile, and their range says more."""
UNBOUNDED = (-math.inf, math.inf)


CASE_COLUMNS = ("case_id", "low", "high")
SHARE = "of the range"
"""Unit of errors that are shares of the range of their case."""
IDENTITY_COLUMNS = ("voxels", "geometry")
"""Columns of `scores.csv` before the scores; earlier versions wrote no identities."""


@dataclass(frozen=True)
class CaseScore:
    """The scores of one case by name, and the data range `low` to `high` that they refer to.

    A name is a metric of the whole volume (`psnr`), of a region (`psnr/bone`), or of a reference
    (`psnr@floor`). Scores that are undefined for the case, for lack of voxels, are left out.
    `identity` is that of the scan, if it is known, and `shape` the size of its volume in voxels.
    `sharpness` has the curves behind the scores of sharpness, None if none was asked for.
    """

    case_id: str
    low: float
    high: float
    scores: dict[str, float]
    identity: ScanIdentity | None = None
    shape: tuple[int, ...] = ()
    sharpness: Sharpness | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of all cases and their `protocol`, which must agree for runs to be compared.

    `latents` is the result of `LatentHealth.summary`, empty if it was not requested. `sets` are
    the scores of all cases together, each with its parts. `facts` are which cases were scored with
    which model, when and by which versions, as JSON values, and
    `warnings` what makes the scores mean something else than they seem to, each in one sentence.
    """

    cases: list[CaseScore]
    protocol: dict[str, Any]
    latents: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)

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
        """Return the 95 % confidence interval of the mean over the cases; NaN if undefined.

        It does not reach beyond the values that the score can have.
        """
        return interval(self.values(name), bounds_of(name))

    def extent(self, name: str) -> tuple[float, float]:
        """Return the smallest and the largest finite value over the cases; NaN if there are none.

        Identical images have no PSNR: theirs is infinite, and they are counted by `infinite`.
        """
        values = [value for value in self.values(name) if math.isfinite(value)]
        return min(values, default=math.nan), max(values, default=math.nan)

    def infinite(self, name: str) -> int:
        """Return the number of cases whose score is infinite, as the PSNR of identical images."""
        return sum(math.isinf(value) for value in self.values(name))

    @property
    def chosen_by(self) -> str:
        """The name of the score that ranks the cases: PSNR, or else the first one."""
        return chosen_by(self.names)

    def ranks(self, name: str) -> dict[str, int]:
        """Return the places of the best, the median and the worst case by a score, by label.

        Of two cases there is no median, of one only the best. Cases without the score do not
        count.
        """
        order = sorted(
            (place for place, case in enumerate(self.cases) if name in case.scores),
            key=lambda place: -worth(name, self.cases[place].scores[name]),
        )
        if not order:
            return {}
        labels = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
        distinct = {1: ("best",), 2: ("best", "worst")}.get(len(order), (*labels,))
        return {label: labels[label] for label in distinct}

    @property
    def means(self) -> dict[str, float]:
        """The mean of every score of the whole volume."""
        return {name: self.mean(name) for name in self.names if is_plain(name)}

    @property
    def sharpness(self) -> dict[str, Sharpness]:
        """The sharpness of the cases for which it was measured."""
        return {case.case_id: case.sharpness for case in self.cases if case.sharpness}

    @property
    def names(self) -> list[str]:
        """The names of the scores."""
        return [*self.protocol["scores"]]

    def unit(self, name: str) -> str:
        """Return the unit of a score."""
        return str(self.protocol["scores"][name])

    def in_shares(self) -> "EvaluationResult":
        """Return the result with errors as shares of the range of their case.

        That is so where each case has a range of its own (MR): its units mean something else in
        every scan, and their mean nothing. Other results are returned as they are.
        """
        intensity = self.protocol.get("intensity") or {}
        if intensity.get("kind") != "percentiles":
            return self
        units = {str(intensity["unit"]): 1, f"{intensity['unit']}^2": 2}
        powers = {name: units.get(self.unit(name), 0) for name in self.names}
        shares = {1: SHARE, 2: f"{SHARE}^2"}
        cases = [
            replace(
                case,
                scores={
                    name: value / (case.high - case.low) ** powers.get(name, 0)
                    for name, value in case.scores.items()
                },
            )
            for case in self.cases
        ]
        scores = {name: shares.get(powers[name], self.unit(name)) for name in self.names}
        return replace(self, cases=cases, protocol={**self.protocol, "scores": scores})

    def write(self, folder: Path) -> None:
        """Write `scores.csv`, a plain table with a row per case, and `summary.json`.

        Where the sharpness was measured, `spectra.csv` and `spectra.png` have its curves.
        """
        with sealing(folder, "scores.csv", "summary.json", f"{SPECTRA}.*", "cases/*.png"):
            self._write_csv(folder / "scores.csv")
            write_spectra(folder, self.sharpness)
            write_json(folder / "summary.json", self.summary())

    def summary(self) -> dict[str, Any]:
        """Return the statistics of each score, the latents and the protocol as JSON values.

        Statistics are those of `in_shares`, and name their unit.
        """
        comparable = self.in_shares()
        scores = {
            name: {
                "cases": len(comparable.values(name)),
                "unit": comparable.unit(name),
                "mean": finite_or_none(comparable.mean(name)),
                "std": finite_or_none(comparable.spread(name)),
                "ci95": [finite_or_none(end) for end in comparable.interval(name)],
                "min": finite_or_none(comparable.extent(name)[0]),
                "max": finite_or_none(comparable.extent(name)[1]),
                **({"infinite": count} if (count := self.infinite(name)) else {}),
            }
            for name in self.names
        }
        of = {"of": f"{counted(len(self.cases))} of this report"} if self.latents else {}
        return {
            "cases": len(self.cases),
            **self.facts,
            "scores": scores,
            **({"sharpness": spectra_summary(known)} if (known := self.sharpness) else {}),
            "latents": {**of, **self.latents},
            "protocol": self.protocol,
            **({"warnings": self.warnings} if self.warnings else {}),
        }

    def _write_csv(self, path: Path) -> None:
        with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*CASE_COLUMNS, *IDENTITY_COLUMNS, *self.names])
            for case in self.cases:
                row = [case.scores.get(name, "") for name in self.names]
                identity = astuple(case.identity) if case.identity else ("", "")
                writer.writerow([case.case_id, case.low, case.high, *identity, *row])


def chosen_by(names: Sequence[str]) -> str:
    """Return the name of the score that ranks the cases: PSNR, or else the first one."""
    return "psnr" if "psnr" in names else names[0]


def is_plain(name: str) -> bool:
    """Whether a score is of the whole volume and of the reconstruction of the model."""
    return "/" not in name and "@" not in name


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation (n - 1): 0 of fewer than two values, NaN of infinite ones."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return statistics.stdev(values) if len(values) > 1 else 0.0


def interval(
    values: Sequence[float], bounds: tuple[float, float] = UNBOUNDED
) -> tuple[float, float]:
    """Return the 95 % Student t interval of the mean, cut off at `bounds`.

    NaN for fewer than MIN_INTERVAL_CASES values, or if one of them is not finite.
    """
    if len(values) < MIN_INTERVAL_CASES or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    quantile = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return max(mean - half, bounds[0]), min(mean + half, bounds[1])
