"""`Comparison`: runs against the first of them, case by case, as table, CSV, JSON and page."""

import base64
import csv
import hashlib
import math
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.metrics import better_of
from vae3d.evaluation.report import CONFIDENCE, CaseScore, finite_or_none, interval
from vae3d.evaluation.views import file_stem
from vae3d.runtime.files import atomic_write, write_json, write_text
from vae3d.runtime.plain import from_plain, read_json

MAX_SCORES_BYTES = 2**26
MAY_DIFFER = ("mode", "patch_size", "overlap", "blend", "latent", "precision")
"""What of a protocol is the run's own choice: such figures can be compared, and it is told."""
BY_NAME = ("scores", "regions")
"""What of a protocol is a table: two runs may hold other names, but not others for a name."""
MOST_LISTED = 500
"""Cases that the page names where only some runs have them."""


@dataclass(frozen=True)
class Report:
    """What one evaluation left in `folder`; `name` tells it from the others, `run` is as typed."""

    name: str
    run: str
    folder: Path
    cases: dict[str, CaseScore]
    protocol: dict[str, Any]

    @property
    def again(self) -> str:
        """The command that makes such a report."""
        return evaluation_of(self.run, str(self.protocol.get("mode")))


@dataclass(frozen=True)
class Difference:
    """One score of a run minus that of the first run, over the cases that all runs have.

    `low` to `high` is the 95 % interval of the mean after Student; NaN where there is none.
    """

    run: str
    mean: float
    low: float
    high: float
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class ScoreComparison:
    """One score of every run: `means` over the same `cases`; `direction` is 1 where more is better."""

    name: str
    unit: str
    direction: int
    cases: int
    means: list[float]
    differences: list[Difference]

    def verdict(self, difference: Difference) -> str:
        """`better`, `worse`, or nothing where the interval holds 0."""
        if not difference.is_clear:
            return ""
        return "better" if difference.mean * self.direction > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """The scores of `reports` over their `common` cases.

    `partial` names the runs of each case that not all have, `notes` tells how they were scored
    differently without being incomparable.
    """

    reports: list[Report]
    common: list[str]
    partial: dict[str, list[str]]
    notes: list[str]
    scores: list[ScoreComparison]

    def write(self, folder: Path) -> None:
        """Writes `compare.csv`, a row a score and run, `compare.json` and `compare.html`."""
        with atomic_write(folder / "compare.csv") as temporary:
            with temporary.open("w", newline="", encoding="utf-8", errors="replace") as file:
                csv.writer(file).writerows([CSV_COLUMNS, *self.rows()])
        write_json(folder / "compare.json", self.summary())
        write_text(folder / "compare.html", page(self))

    def rows(self) -> Iterator[list[object]]:
        """The rows of `compare.csv`, the first run's own without a difference."""
        for score in self.scores:
            facts = [score.name, score.unit, score.cases]
            yield [*facts, self.reports[0].name, _blank(score.means[0]), *[""] * 6]
            for mean, d in zip(score.means[1:], score.differences, strict=True):
                numbers = [_blank(value) for value in (mean, d.mean, d.low, d.high)]
                yield [*facts, d.run, *numbers, d.better, d.worse, score.verdict(d)]

    def summary(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        names = [report.name for report in self.reports]
        return {
            "runs": [{"name": r.name, "run": r.run, "cases": len(r.cases)} for r in self.reports],
            "confidence": CONFIDENCE,
            "cases": self.common,
            "only_some": self.partial,
            "notes": self.notes,
            "scores": {
                score.name: {
                    "unit": score.unit,
                    "better": "more" if score.direction > 0 else "less",
                    "cases": score.cases,
                    "means": dict(zip(names, map(finite_or_none, score.means), strict=True)),
                    "differences": {
                        d.run: {
                            "mean": finite_or_none(d.mean),
                            "ci95": [finite_or_none(d.low), finite_or_none(d.high)],
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


CSV_COLUMNS = ["score", "unit", "cases", "run", "mean", "difference", "low", "high"]
CSV_COLUMNS += ["better", "worse", "verdict"]


def compare_reports(reports: list[Report]) -> Comparison:
    """Pairs the cases by name.

    Raises:
        RunError: the protocols make the figures incomparable, or no case is in all reports.
    """
    first, *others = reports
    notes = [note for other in others for note in _protocol_notes(first, other)]
    common = [case for case in first.cases if all(case in other.cases for other in others)]
    if not common:
        names = ", ".join(printable(report.name) for report in reports)
        raise RunError(
            f"no case is in all of {names}: pairs need the same scans, so evaluate each run with "
            "the same data (data.root=..., split=all)"
        )
    for other in others:
        _check_ranges(first, other, common)
    every = dict.fromkeys(case for report in reports for case in report.cases)
    partial = {
        case: [report.name for report in reports if case in report.cases]
        for case in every
        if any(case not in report.cases for report in reports)
    }
    units = first.protocol["scores"]
    shared = [name for name in units if all(name in o.protocol["scores"] for o in others)]
    if not shared:
        raise RunError(f"no score is in all reports; evaluate alike: {first.again}")
    notes += _unshared(reports, shared)
    scores = [_compared(name, str(units[name]), reports, common) for name in shared]
    return Comparison(reports, common, partial, notes, [score for score in scores if score.cases])


def _compared(name: str, unit: str, reports: list[Report], common: list[str]) -> ScoreComparison:
    every = [[report.cases[case].scores.get(name) for case in common] for report in reports]
    rows = [row for row in zip(*every, strict=True) if None not in row]
    first, *others = ([float(row[n] or 0) for row in rows] for n in range(len(reports)))
    direction = better_of(name)
    differences = []
    for report, values in zip(reports[1:], others, strict=True):
        # Two perfect reconstructions differ by nothing, however infinite their PSNR.
        steps = [b - a if a != b else 0.0 for a, b in zip(first, values, strict=True)]
        better = sum(step * direction > 0 for step in steps)
        worse = sum(step * direction < 0 for step in steps)
        mean = _mean(steps)
        differences.append(Difference(report.name, mean, *interval(steps), better, worse))
    means = [_mean(values) for values in (first, *others)]
    return ScoreComparison(name, unit, direction, len(rows), means, differences)


def _mean(values: Sequence[float]) -> float:
    # fmean of both infinities raises.
    return sum(values) / len(values) if values else math.nan
