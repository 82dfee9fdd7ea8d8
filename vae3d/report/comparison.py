"""`Comparison`: runs against the first of them, case by case, as table, CSV and JSON."""

import csv
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.errors import RunError
from vae3d.report.reader import Report, printable
from vae3d.report.result import CONFIDENCE, interval
from vae3d.runtime.files import atomic_write, write_json
from vae3d.runtime.plain import finite_or_none
from vae3d.scoring.scores import better_of, worth

MAY_DIFFER = ("mode", "patch_size", "overlap", "blend", "latent", "precision")
"""What of a protocol is the run's own choice: such figures can be compared, and it is told."""
BY_NAME = ("scores", "regions")
"""What of a protocol is a table: two runs may hold other names, but not others for a name."""


@dataclass(frozen=True)
class Mean:
    """A mean over cases; `low` to `high` is its 95 % interval after Student, NaN for one case."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """The mean of these values."""
        return cls(_mean(values), *interval(values))


@dataclass(frozen=True)
class Difference(Mean):
    """One score of a run minus that of the first run, over the cases that all runs have.

    `gain` is how much better it became: the difference itself where more is better, its negative
    where less is, and of a score whose best is 1 how much nearer it came to that.
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
    """One score of every run over the same `cases`; `direction` as `better_of` has it."""

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
        return "better" if difference.gain.mean > 0 else "worse"


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
        """Writes `compare.csv`, a row a score and run, and `compare.json`."""
        path = folder / "compare.csv"
        with atomic_write(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([CSV_COLUMNS, *self.rows()])
        write_json(folder / "compare.json", self.summary())

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
                    "better": BETTER[score.direction],
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


BETTER = {1: "more", -1: "less", 0: "nearer to 1"}
CSV_COLUMNS = ["score", "unit", "cases", "run", "mean", "difference", "low", "high"]
CSV_COLUMNS += ["better", "worse", "verdict"]


def compare_reports(reports: Sequence[Report]) -> Comparison:
    """Pairs the cases of the first report with those of the others, by name.

    Raises:
        RunError: the protocols make the figures incomparable, or no case is in all reports.
    """
    first, *others = reports
    notes = [note for other in others for note in _told(first, other)]
    common = [case for case in first.cases if all(case in other.cases for other in others)]
    if not common:
        names = ", ".join(printable(report.name) for report in reports)
        raise RunError(
            f"no case is in all of {names}; evaluate them on the same scans, for example each "
            "with split=all or the same data.root="
        )
    for other in others:
        _check_ranges(first, other, common)
    units = first.protocol["scores"]
    shared = [name for name in units if all(name in o.protocol["scores"] for o in others)]
    scores = [_compared(name, str(units[name]), reports, common) for name in shared]
    scores = [score for score in scores if score.cases]
    if not scores:
        raise RunError(f"no score is in all reports; evaluate them alike: {first.again}")
    notes += [*_unshared(reports, shared), *_other_floors(scores)]
    return Comparison([*reports], common, _partial(reports), notes, scores)


def _compared(
    name: str, unit: str, reports: Sequence[Report], common: Sequence[str]
) -> ScoreComparison:
    paired = [case for case in common if all(name in r.cases[case].scores for r in reports)]
    first, *others = ([r.cases[case].scores[name] for case in paired] for r in reports)
    differences = []
    for report, values in zip(reports[1:], others, strict=True):
        steps = _steps(first, values)
        gains = _steps(*([worth(name, value) for value in each] for each in (first, values)))
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        d = Mean.of(steps)
        differences.append(
            Difference(d.mean, d.low, d.high, report.name, Mean.of(gains), better, worse)
        )
    means = [_mean(values) for values in (first, *others)]
    return ScoreComparison(name, unit, better_of(name), len(paired), means, differences)


def _steps(first: Sequence[float], values: Sequence[float]) -> list[float]:
    """From each value to that of another run; two perfect copies, of infinite PSNR, are alike."""
    return [b - a if a != b else 0.0 for a, b in zip(first, values, strict=True)]


def _mean(values: Sequence[float]) -> float:
    finite = all(map(math.isfinite, values))
    return statistics.fmean(values) if values and finite else sum(values, start=0.0 * len(values))


def _partial(reports: Sequence[Report]) -> dict[str, list[str]]:
    """The runs of each case that not all have."""
    having = {
        case: [report.name for report in reports if case in report.cases]
        for case in dict.fromkeys(case for report in reports for case in report.cases)
    }
    return {case: names for case, names in having.items() if len(names) < len(reports)}


def _told(first: Report, other: Report) -> list[str]:
    """How the two were scored differently, if that leaves their figures comparable.

    Raises:
        RunError: it does not.
    """
    a, b = (_comparable(report.protocol) for report in (first, other))
    differing = [key for key in {**a, **b} if a.get(key) != b.get(key)]
    for key in BY_NAME:
        old, new = (report.protocol.get(key) or {} for report in (first, other))
        differing += [f"{key}.{name}" for name in old if old[name] != new.get(name, old[name])]
    if differing:
        found = "; ".join(
            f"{key}: {_value(first, key)} -> {_value(other, key)}" for key in differing[:3]
        )
        raise RunError(
            f"{first.name} and {other.name} were not scored alike ({found}); evaluate both with "
            f"the same evaluation.* and data.*: {first.again}"
        )
    return [
        f"{key}: {_value(first, key)} in {first.name}, {_value(other, key)} in {other.name}"
        for key in (*MAY_DIFFER, "intensity")
        if first.protocol.get(key) != other.protocol.get(key)
    ]


def _comparable(protocol: dict[str, Any]) -> dict[str, Any]:
    """What must be the same in two protocols."""
    kept = {k: v for k, v in protocol.items() if k not in (*MAY_DIFFER, *BY_NAME)}
    intensity = kept.get("intensity")
    if _has_window(protocol) and isinstance(intensity, dict):
        # Scored within one window: what the models see of the scans may differ.
        kept["intensity"] = intensity.get("unit")
    return kept


def _has_window(protocol: dict[str, Any]) -> bool:
    return str(protocol.get("data_range")).startswith("[")


def _value(report: Report, key: str) -> str:
    group, _, name = key.partition(".")
    value = report.protocol.get(group)
    text = str(value.get(name) if name and isinstance(value, dict) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _check_ranges(first: Report, other: Report, common: Sequence[str]) -> None:
    """Raises a RunError where a scan was scored on another range of values."""
    if _has_window(first.protocol):
        return
    for case in common:
        a, b = first.cases[case], other.cases[case]
        width = abs(a.high - a.low)
        if max(abs(a.low - b.low), abs(a.high - b.high)) > 1e-6 * width:
            raise RunError(
                f"{printable(case)} was scored on [{a.low:g}, {a.high:g}] in {first.name} and on "
                f"[{b.low:g}, {b.high:g}] in {other.name}; evaluate both with the same data"
            )


def _unshared(reports: Sequence[Report], shared: Sequence[str]) -> Iterator[str]:
    """The scores that only some reports have."""
    names = dict.fromkeys(name for report in reports for name in report.protocol["scores"])
    for name in names:
        if name not in shared:
            having = [r.name for r in reports if name in r.protocol["scores"]]
            yield f"{name}: only in {', '.join(having)}"


def _other_floors(scores: Sequence[ScoreComparison]) -> Iterator[str]:
    """Runs whose scans lose something else before any VAE: the floor depends on nothing else."""
    told = set()
    for score in scores:
        for mean, d in zip(score.means[1:], score.differences, strict=True):
            same = math.isclose(mean, score.means[0], rel_tol=1e-3) or math.isnan(d.mean)
            if score.name.endswith("@floor") and not same and d.run not in told:
                told.add(d.run)
                yield (
                    f"{d.run} sees the scans on another grid ({score.name} {score.means[0]:.4g} "
                    f"-> {mean:.4g}): compare the scores @scan, which are on the scans' own"
                )


def _blank(value: float) -> object:
    return "" if math.isnan(value) else value
