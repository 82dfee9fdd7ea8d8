"""`compare_reports`: the scores of runs, paired case by case, and how they were scored."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vae3d.comparison.reader import Report, printable
from vae3d.comparison.results import Comparison, Difference, Mean, ScoreComparison, mean_of
from vae3d.errors import RunError
from vae3d.report.result import UNBOUNDED, CaseScore
from vae3d.runtime.choices import READERS, RESAMPLINGS
from vae3d.runtime.messages import counted
from vae3d.scoring.scores import better_of, bounds_of, label_of, worth, worth_bounds

_OF_THE_MODEL = ("mode", "patch_size", "overlap", "blend", "latent", "precision")
MAY_DIFFER = (*_OF_THE_MODEL, "resampling", "reader")
"""Protocol keys that may differ between comparable runs; differences are listed as notes."""
EARLIER = {"resampling": RESAMPLINGS[0], "reader": READERS[0]}
"""Values of the keys that reports of earlier versions do not have."""
BY_NAME = ("scores", "regions", "sharpness")
"""Protocol keys that are tables: two runs may have different names, but an entry that both have
must be equal."""
MAX_NAMED = 5
"""Cases that a note names."""


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
            f"{other.name}: same name, other voxels: {len(unlike)} of {counted(len(pairs))} "
            f"({', '.join(map(printable, unlike[:MAX_NAMED]))}), not compared"
        )
    moved = sum(
        a.identity.geometry != b.identity.geometry
        for a, b in pairs
        if a.identity and b.identity and _is_same(a, b)
    )
    if moved:
        yield f"{other.name}: same voxels at another place or spacing: {counted(moved)}"
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
        gain = Mean.of(_differences(*worths), _shifted(worth_bounds(name), mean_of(worths[0])))
        d = Mean.of(_differences(first, values), _shifted(bounds_of(name), mean_of(first)))
        differences.append(
            Difference(
                **vars(d),
                run=report.name,
                gain=gain,
                better=sum(b > a for a, b in zip(*worths, strict=True)),
                worse=sum(b < a for a, b in zip(*worths, strict=True)),
            )
        )
    means = [mean_of(values) for values in (first, *others)]
    return ScoreComparison(name, unit, better_of(name), len(paired), means, differences)


def _shifted(bounds: tuple[float, float], mean: float) -> tuple[float, float]:
    """Return the bounds of the mean difference from a first run with this mean."""
    return (bounds[0] - mean, bounds[1] - mean) if math.isfinite(mean) else UNBOUNDED


def _differences(first: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return values - first, pair by pair; 0 for equal values, also for two infinite ones."""
    return [b - a if a != b else 0.0 for a, b in zip(first, values, strict=True)]


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
        names = [name for key in differing for name in _entries_that_differ(first, other, key)]
        examples = "; ".join(
            f"{key}: {_value(first, key)} -> {_value(other, key)}" for key in names[:3]
        )
        raise RunError(
            f"{first.name} and {other.name} cannot be compared, because they were scored "
            f"differently ({examples}); evaluate both with the same evaluation.* and data.*: "
            f"{other.again}"
        )
    return [
        f"{key}: {_value(first, key)} in {first.name}, {_value(other, key)} in {other.name}"
        for whole in (*MAY_DIFFER, "intensity")
        for key in _entries_that_differ(first, other, whole)
        if _value(first, key) != _value(other, key)
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


def _entries_that_differ(first: Report, other: Report, key: str) -> list[str]:
    """Return `key`, or `key.name` for each entry that differs if it is a table in both."""
    old, new = first.protocol.get(key), other.protocol.get(key)
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [key]
    return [f"{key}.{name}" for name in {**old, **new} if old.get(name) != new.get(name)]


def _value(report: Report, key: str) -> str:
    """Return a value of the protocol as text of at most 83 characters; `key` may be group.name."""
    group, _, name = key.partition(".")
    value = report.protocol.get(group, EARLIER.get(group))
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
    """Yield a note for the scores that only some reports have, by the reports that have them."""
    names = dict.fromkeys(name for report in reports for name in report.protocol["scores"])
    missing: dict[str, list[str]] = {}
    for name in names:
        if name not in shared:
            having = [r.name for r in reports if name in r.protocol["scores"]]
            missing.setdefault(", ".join(having), []).append(label_of(name))
    for runs, labels in missing.items():
        yield f"only in {runs}: {', '.join(labels)}"


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
                    f"{d.run} sees the scans on another grid ({label_of(score.name)} "
                    f"{score.means[0]:.4g} -> {mean:.4g}): compare the @scan "
                    "scores, which use the grids of the scans"
                )
