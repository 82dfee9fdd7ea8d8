"""`Comparison`: paired differences of runs from the first run, as CSV and JSON."""

import csv
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.comparison.reader import Report
from vae3d.files.atomic import atomic_write, write_json
from vae3d.files.plain import finite_or_none
from vae3d.report.result import CONFIDENCE, UNBOUNDED, interval
from vae3d.scoring.scores import difference_text

JSON = "compare.json"
BETTER = {1: "more", -1: "less", 0: "nearer to 1"}
CSV_COLUMNS = ["score", "unit", "cases", "run", "mean", "difference", "low", "high"]
CSV_COLUMNS += ["better", "worse", "verdict"]


@dataclass(frozen=True)
class Mean:
    """A mean over cases, and the `smallest` and `largest` value of a case.

    `low` to `high` is the 95 % Student t interval of the mean, within what is possible; NaN for
    fewer cases than an interval needs.
    """

    mean: float
    low: float
    high: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float], bounds: tuple[float, float] = UNBOUNDED) -> "Mean":
        """Return the mean of these values and its interval, cut off at `bounds`."""
        ends = min(values, default=math.nan), max(values, default=math.nan)
        return cls(mean_of(values), *interval(values, bounds), *ends)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval or, without one, of the range of the cases."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return self.low, self.high
        return self.smallest, self.largest

    def ends_text(self, name: str) -> str:
        """Return the interval or, without one, the range of the cases of a score, as text."""
        if not all(map(math.isfinite, self.ends)):
            # The PSNR of identical images is infinite.
            return "-" if math.isnan(self.ends[0]) else "infinite in one run only"
        low, high = (difference_text(name, end) for end in self.ends)
        return f"range {low} to {high}" if math.isnan(self.low) else f"[{low}, {high}]"


@dataclass(frozen=True)
class Difference(Mean):
    """The difference of a score from that of the first run, over the cases that all runs have.

    `gain` is the improvement: the difference if more is better, its negative if less is better,
    and the decrease of the distance from 1 for a score whose best value is 1. `better` and `worse`
    are numbers of cases.
    """

    run: str
    gain: Mean
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the gain excludes 0."""
        return self.gain.low > 0 or self.gain.high < 0


@dataclass(frozen=True)
class ScoreComparison:
    """One score of every run over the same `cases`; `direction` is that of `better_of`."""

    name: str
    unit: str
    direction: int
    cases: int
    means: list[float]
    differences: list[Difference]

    def verdict(self, difference: Difference) -> str:
        """Return `better`, `worse`, or an empty string if the interval of the gain contains 0."""
        if not difference.is_clear:
            return ""
        return "better" if difference.gain.mean > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """The scores of `reports` over their `common` cases.

    `partial` lists, for each case that some runs lack, the runs that have it. `notes` are
    differences in scoring that do not prevent a comparison.
    """

    reports: list[Report]
    common: list[str]
    partial: dict[str, list[str]]
    notes: list[str]
    scores: list[ScoreComparison]

    @property
    def warnings(self) -> list[str]:
        """What the reports warn of, each with the names of its runs."""
        runs: dict[str, list[str]] = {}
        for report in self.reports:
            for warning in report.warnings:
                runs.setdefault(warning, []).append(report.name)
        return [f"{', '.join(names)}: {warning}" for warning, names in runs.items()]

    @property
    def facts(self) -> dict[str, dict[str, str]]:
        """The facts of all runs: for each fact the value of each run, `-` where it is unknown."""
        names = dict.fromkeys(name for report in self.reports for name in report.facts)
        return {name: {r.name: r.facts.get(name, "-") for r in self.reports} for name in names}

    @property
    def differing_facts(self) -> dict[str, dict[str, str]]:
        """The facts that not all runs share, apart from those that every two runs differ in."""
        return {
            name: values
            for name, values in self.facts.items()
            if len({*values.values()}) > 1 and name not in ("Date", "Scaling")
        }

    def write(self, folder: Path) -> None:
        """Write `compare.csv`, with a row per score and run, and `compare.json`."""
        path = folder / "compare.csv"
        with atomic_write(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([CSV_COLUMNS, *self.rows()])
        write_json(folder / JSON, self.summary())

    def rows(self) -> Iterator[list[object]]:
        """Yield the rows of `compare.csv`; those of the first run have no difference."""
        for score in self.scores:
            facts = [score.name, score.unit, score.cases]
            yield [*facts, self.reports[0].name, _blank(score.means[0]), *[""] * 6]
            for mean, d in zip(score.means[1:], score.differences, strict=True):
                numbers = [_blank(value) for value in (mean, d.mean, d.low, d.high)]
                yield [*facts, d.run, *numbers, d.better, d.worse, score.verdict(d)]

    def summary(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        names = [report.name for report in self.reports]
        return {
            "runs": [
                {
                    **{"name": r.name, "run": r.run, "cases": len(r.cases)},
                    **{"facts": r.facts, "warnings": r.warnings},
                }
                for r in self.reports
            ],
            "confidence": CONFIDENCE,
            "cases": self.common,
            "only_some": self.partial,
            "notes": self.notes,
            "scores": {
                score.name: {
                    "unit": score.unit,
                    "better": BETTER[score.direction],
                    "cases": score.cases,
                    "means": dict(zip(names, map(finite_or_none, score.means), strict=True)),
                    "differences": {
                        d.run: {
                            "mean": finite_or_none(d.mean),
                            "ci95": [finite_or_none(d.low), finite_or_none(d.high)],
                            "range": [finite_or_none(d.smallest), finite_or_none(d.largest)],
                            "better": d.better,
                            "worse": d.worse,
                            "excludes_0": d.is_clear,
                        }
                        for d in score.differences
                    },
                }
                for score in self.scores
            },
        }


def _blank(value: float) -> object:
    """Return the value of a CSV cell, empty for NaN."""
    return "" if math.isnan(value) else value


def mean_of(values: Sequence[float]) -> float:
    """Return the mean; infinite or NaN as the values are, NaN for none."""
    finite = all(map(math.isfinite, values))
    return statistics.fmean(values) if values and finite else sum(values, start=0.0 * len(values))
