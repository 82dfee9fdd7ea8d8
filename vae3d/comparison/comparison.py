"""`Comparison`: paired differences of runs from the first run, as CSV and JSON."""

import csv
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vae3d.comparison.reader import Report, printable
from vae3d.errors import RunError
from vae3d.report.result import CONFIDENCE, UNBOUNDED, CaseScore, interval
from vae3d.runtime.files import atomic_write, write_json
from vae3d.runtime.plain import finite_or_none
from vae3d.scoring.scores import better_of, bounds_of, significant, worth, worth_bounds

MAY_DIFFER = ("mode", "patch_size", "overlap", "blend", "latent", "precision")
"""Protocol keys that may differ between comparable runs; differences are listed as notes."""
BY_NAME = ("scores", "regions")
"""Protocol keys that are tables: two runs may have different names, but an entry that both have
must be equal."""


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
        return cls(_mean(values), *interval(values, bounds), *ends)

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the interval or, without one, of the range of the cases."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return self.low, self.high
        return self.smallest, self.largest

    @property
    def ends_text(self) -> str:
        """The interval or, without one, the range of the cases, as text."""
        if math.isnan(self.ends[0]):
            return "-"
        low, high = (significant(end, "+") for end in self.ends)
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

    def write(self, folder: Path) -> None:
        """Write `compare.csv`, with a row per score and run, and `compare.json`."""
        path = folder / "compare.csv"
        with atomic_write(path) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([CSV_COLUMNS, *self.rows()])
        write_json(folder / "compare.json", self.summary())

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


MAX_NAMED = 5
"""Cases that a note names."""
BETTER = {1: "more", -1: "less", 0: "nearer to 1"}
CSV_COLUMNS = ["score", "unit", "cases", "run", "mean", "difference", "low", "high"]
CSV_COLUMNS += ["better", "worse", "verdict"]


def compare_reports(reports: Sequence[Report]) -> Comparison:
    """Return the comparison of the first report with the others, scan by scan.

    Cases are paired by what they hold, whatever they are called; by name where that is not known.

    Raises:
        RunError: the protocols are incomparable, or no case or score is in all reports.
    """
    first, *others = reports
    notes = [note for other in others for note in _protocol_notes(first, other)]
    notes += [note for other in others for note in _identity_notes(first, other)]
    others = [_named_as(first, other) for other in others]
    reports = [first, *others]
    common = [case for case in first.cases if all(case in other.cases for other in others)]
    if not common:
        names = ", ".join(printable(report.name) for report in reports)
        raise RunError(
            f"no case is in all of {names}; evaluate them on the same scans, for example with "
            "split=all or the same data.root=" + "".join(f"; {note}" for note in notes)
        )
    for other in others:
        _check_ranges(first, other, common)
    units = first.protocol["scores"]
    shared = [name for name in units if all(name in o.protocol["scores"] for o in others)]
    scores = [_compare_score(name, str(units[name]), reports, common) for name in shared]
    scores = [score for score in scores if score.cases]
    if not scores:
        raise RunError(
            f"no score is in all reports; evaluate all runs with the same metrics: {first.again}"
        )
    notes += [*_unshared_notes(reports, shared), *_floor_notes(scores)]
    return Comparison([*reports], common, _partial(reports), notes, scores)


def _named_as(first: Report, other: Report) -> Report:
    """Return a report whose cases have the names that the first report gives to their scans.

    Scans of the same name and other voxels are left out.
    """
    names = {case.identity.voxels: name for name, case in first.cases.items() if case.identity}
    cases: dict[str, CaseScore] = {}
    for name, case in other.cases.items():
        same = names.get(case.identity.voxels) if case.identity else None
        if _is_same(first.cases.get(name), case):
            cases[name] = case
        elif same is not None:
            cases.setdefault(same, case)
        elif name not in first.cases:
            cases[name] = case
    return replace(other, cases=cases)


def _is_same(a: CaseScore | None, b: CaseScore) -> bool:
    """Return whether two cases of one name are one scan, as far as is known."""
    if a is None:
        return False
    return a.identity is None or b.identity is None or a.identity.voxels == b.identity.voxels


def _identity_notes(first: Report, other: Report) -> Iterator[str]:
    """Yield what is odd about the scans that two reports have in common."""
    shared = [name for name in first.cases if name in other.cases]
    pairs = [(first.cases[name], other.cases[name]) for name in shared]
    unlike = [a.case_id for a, b in pairs if not _is_same(a, b)]
    if unlike:
        yield (
            f"{other.name}: same name, other voxels: {len(unlike)} of {len(pairs)} cases "
            f"({', '.join(map(printable, unlike[:MAX_NAMED]))}), not compared"
        )
    moved = sum(
        a.identity.geometry != b.identity.geometry
        for a, b in pairs
        if a.identity and b.identity and _is_same(a, b)
    )
    if moved:
        yield f"{other.name}: same voxels at another place or spacing: {moved} cases"
    if any(a.identity is None or b.identity is None for a, b in pairs):
        yield f"{other.name}: its scans are known by name only (written by an earlier version)"


def _compare_score(
    name: str, unit: str, reports: Sequence[Report], common: Sequence[str]
) -> ScoreComparison:
    """Return the comparison of one score over the common cases that have it in all reports."""
    paired = [case for case in common if all(name in r.cases[case].scores for r in reports)]
    first, *others = ([r.cases[case].scores[name] for case in paired] for r in reports)
    differences = []
    for report, values in zip(reports[1:], others, strict=True):
        worths = [[worth(name, value) for value in each] for each in (first, values)]
        gain = Mean.of(_differences(*worths), _shifted(worth_bounds(name), _mean(worths[0])))
        d = Mean.of(_differences(first, values), _shifted(bounds_of(name), _mean(first)))
        differences.append(
            Difference(
                **vars(d),
                run=report.name,
                gain=gain,
                better=sum(b > a for a, b in zip(*worths, strict=True)),
                worse=sum(b < a for a, b in zip(*worths, strict=True)),
            )
        )
    means = [_mean(values) for values in (first, *others)]
    return ScoreComparison(name, unit, better_of(name), len(paired), means, differences)


def _shifted(bounds: tuple[float, float], mean: float) -> tuple[float, float]:
    """Return the bounds of the mean difference from a first run with this mean."""
    return (bounds[0] - mean, bounds[1] - mean) if math.isfinite(mean) else UNBOUNDED


def _differences(first: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return values - first, pair by pair; 0 for equal values, also for two infinite ones."""
    return [b - a if a != b else 0.0 for a, b in zip(first, values, strict=True)]


def _mean(values: Sequence[float]) -> float:
    """Return the mean; infinite or NaN as the values are, NaN for none."""
    finite = all(map(math.isfinite, values))
    return statistics.fmean(values) if values and finite else sum(values, start=0.0 * len(values))


def _partial(reports: Sequence[Report]) -> dict[str, list[str]]:
    """Return, for each case that some runs lack, the runs that have it."""
    having = {
        case: [report.name for report in reports if case in report.cases]
        for case in dict.fromkeys(case for report in reports for case in report.cases)
    }
    return {case: names for case, names in having.items() if len(names) < len(reports)}


def _protocol_notes(first: Report, other: Report) -> list[str]:
    """Return the differences between two protocols as notes.

    Raises:
        RunError: the protocols are incomparable.
    """
    a, b = (_comparable(report.protocol) for report in (first, other))
    # The description of a reference matters only if both runs have its scores.
    differing = [
        key
        for key in {**a, **b}
        if a.get(key) != b.get(key) and (not key.startswith("@") or (key in a and key in b))
    ]
    for key in BY_NAME:
        old, new = (report.protocol.get(key) or {} for report in (first, other))
        differing += [f"{key}.{name}" for name in old if old[name] != new.get(name, old[name])]
    if differing:
        examples = "; ".join(
            f"{key}: {_value(first, key)} -> {_value(other, key)}" for key in differing[:3]
        )
        raise RunError(
            f"{first.name} and {other.name} cannot be compared, because they were scored "
            f"differently ({examples}); evaluate both with the same evaluation.* and data.*: "
            f"{other.again}"
        )
    return [
        f"{key}: {_value(first, key)} in {first.name}, {_value(other, key)} in {other.name}"
        for key in (*MAY_DIFFER, "intensity")
        if first.protocol.get(key) != other.protocol.get(key)
    ]


def _comparable(protocol: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a protocol that must be equal in comparable reports."""
    fixed = {k: v for k, v in protocol.items() if k not in (*MAY_DIFFER, *BY_NAME)}
    intensity = fixed.get("intensity")
    if _has_window(protocol) and isinstance(intensity, dict):
        # Within an explicit window the scores do not depend on the range that the model sees.
        fixed["intensity"] = intensity.get("unit")
    return fixed


def _has_window(protocol: dict[str, Any]) -> bool:
    return str(protocol.get("data_range")).startswith("[")


def _value(report: Report, key: str) -> str:
    """Return a value of the protocol as text of at most 83 characters; `key` may be group.name."""
    group, _, name = key.partition(".")
    value = report.protocol.get(group)
    text = str(value.get(name) if name and isinstance(value, dict) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _check_ranges(first: Report, other: Report, common: Sequence[str]) -> None:
    """Raise a RunError if a scan was scored on different data ranges."""
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


def _unshared_notes(reports: Sequence[Report], shared: Sequence[str]) -> Iterator[str]:
    """Yield a note for each score that only some reports have."""
    names = dict.fromkeys(name for report in reports for name in report.protocol["scores"])
    for name in names:
        if name not in shared:
            having = [r.name for r in reports if name in r.protocol["scores"]]
            yield f"{name}: only in {', '.join(having)}"


def _floor_notes(scores: Sequence[ScoreComparison]) -> Iterator[str]:
    """Yield a note for each run that sees the scans on another grid than the first run.

    The floor depends on the grid and the range alone, so a different floor means another grid.
    """
    noted = set()
    for score in scores:
        for mean, d in zip(score.means[1:], score.differences, strict=True):
            same = math.isclose(mean, score.means[0], rel_tol=1e-3) or math.isnan(d.mean)
            if score.name.endswith("@floor") and not same and d.run not in noted:
                noted.add(d.run)
                yield (
                    f"{d.run} sees the scans on another grid ({score.name} {score.means[0]:.4g} "
                    f"-> {mean:.4g}): compare the @scan scores, which use the grids of the scans"
                )


def _blank(value: float) -> object:
    """Return the value of a CSV cell, empty for NaN."""
    return "" if math.isnan(value) else value
