"""Groups of cases, such as the scans of one patient, which belong in one split."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import median

from vae3d.errors import DataError
from vae3d.lists.columns import squash
from vae3d.lists.entries import Entry
from vae3d.lists.rows import Listing

SUBJECT = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)(?=[/_.-]|$)")
"""The label of a subject in a path of BIDS."""
MANY_FOLDERS = 20
"""From this number of folders on, each is taken for a patient, whatever number of scans it has."""
_SPLITS_AND_KINDS = (
    "train training tr imagestr test testing ts imagests val valid validation dev images scans "
    "ct mr mri pet t1 t1w t2 t2w flair pd dwi adc data raw"
)
_NO_PATIENT = frozenset(_SPLITS_AND_KINDS.split())
"""Names of folders that are splits or kinds of scans."""
_SEQUENCE = re.compile(
    r"(t1|t1w|t1c|t1ce|t1gd|t1post|t2|t2w|t2f|t1n|t2s|flair|pd|pdw|swi|dwi|adc|"
    r"ct|cbct|mr|mri|pet|pre|post|baseline|followup|arterial|venous|portal|delayed|"
    r"inhale|exhale|insp|exp|left|right|axial|coronal|sagittal)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(000\d|(?:visit|ses|session|time|timepoint|tp|day|week|month|year|scan|study|series|phase|"
    r"frame|slice|sl|z|v|t|y|m)-?\d+|(?:19|20)\d{6}|(?:19|20)\d\d-\d\d-\d\d)",
    re.IGNORECASE,
)


def find_groups(config: Listing, entries: Sequence[Entry]) -> list[str]:
    """Return the group of each case by `data.group`; by default its own name.

    Raises:
        DataError: the rule does not fit a case, or a list puts a group in two splits.
    """
    rule = _rule(config, entries)
    if rule is None:
        return [entry.case_id for entry in entries]
    groups = [rule(entry) for entry in entries]
    unfit = [entry for entry, group in zip(entries, groups, strict=True) if not group]
    if unfit:
        raise DataError(
            f"data.group={config.group}: does not fit {len(unfit)} of {len(entries)} cases, such "
            f"as {unfit[0].key}; choose another pattern, or '^(.*)$' for no groups"
        )
    _check_splits(config, entries, groups)
    return groups


def _rule(config: Listing, entries: Sequence[Entry]) -> Callable[[Entry], str] | None:
    """Return the function from a case to its group, `""` where it fits none."""
    pattern = config.group_pattern
    if any(entry.group for entry in entries):
        return lambda entry: entry.group or ""
    if config.group is None:
        return None
    if config.group != "subject" and pattern is None:
        raise DataError(
            f"data.group={config.group}: only a list has columns; set data.list, or give subject "
            "or a pattern such as '^([^/]+)/'"
        )
    expression = pattern or SUBJECT
    return lambda entry: next((m[1] or "" for m in [expression.search(entry.key)] if m), "")


def _check_splits(config: Listing, entries: Sequence[Entry], groups: Sequence[str]) -> None:
    first: dict[str, Entry] = {}
    for entry, group in zip(entries, groups, strict=True):
        other = first.setdefault(group, entry)
        if other.split != entry.split:
            raise DataError(
                f"data.list: {config.list}, {other.place} and {entry.place}: {group!r} is in "
                f"{other.split} and in {entry.split}, but a group (patient) belongs in one split; "
                "change the list, or set data.group='^(.*)$' for no groups"
            )


def patient_hint(keys: Sequence[str], splits: Sequence[str | None]) -> str | None:
    """Return a line for cases of one patient that no group keeps together, or None.

    `keys` are paths without suffix. Where `splits` are assigned, only patients in two of them
    count.
    """
    for suspect in (_by_subject, _by_name, _by_folder):
        patients, advice = suspect(keys)
        apart = [
            members
            for members in patients.values()
            if len(members) > 1
            and (not any(splits) or len({splits[member] for member in members}) > 1)
        ]
        if apart:
            first, second = sorted(keys[member] for member in apart[0])[:2]
            count = "1 patient has" if len(apart) == 1 else f"{len(apart)} patients have"
            where = " in different splits" if any(splits) else ""
            return (
                f"{count} several scans{where} by their names (such as {first} and {second}); "
                f"set {advice} to keep each patient in one split"
            )
    return None


Patients = dict[str, list[int]]


def _collect(names: Iterable[str | None]) -> Patients:
    patients: Patients = defaultdict(list)
    for index, name in enumerate(names):
        if name is not None:
            patients[name].append(index)
    return patients


def _by_subject(keys: Sequence[str]) -> tuple[Patients, str]:
    matches = [SUBJECT.search(key) for key in keys]
    return _collect(match and match[1] for match in matches), "data.group=subject"


def _by_name(keys: Sequence[str]) -> tuple[Patients, str]:
    """Return the patients by file names without sequence, visit, channel or slice at the end."""
    stems = [_stem(key) for key in keys]
    patients = _collect(stem for stem, _, _ in stems)
    several = [members for members in patients.values() if len(members) > 1]
    # case_0000 to case_0009 are ten patients; p1_0000, p1_0001, p2_0000 and p2_0001 are two.
    named = any(stems[index][2] for members in several for index in members)
    if not several or (len(several) == 1 and not named):
        return {}, ""
    parts = {stems[index][1] for members in several for index in members}
    pattern = "^(.+)" + "_[^_/]+" * max(parts) + "$"
    fits = len(parts) == 1 and all(re.search(pattern, key) for key in keys)
    return patients, f"'data.group={pattern}'" if fits else "data.group=PATTERN"


def _stem(key: str) -> tuple[str, int, bool]:
    """Return a name without the parts that tell scans of a patient apart, their number, and
    whether one of them is a word for a sequence."""
    folder, _, name = key.rpartition("/")
    parts = name.split("_")
    kept, named = len(parts), False
    while kept > 1:
        sequence = _SEQUENCE.fullmatch(parts[kept - 1])
        if not (sequence or _NUMBERED.fullmatch(parts[kept - 1])):
            break
        named = named or sequence is not None
        kept -= 1
    return f"{folder}/{'_'.join(parts[:kept])}", len(parts) - kept, named


def _by_folder(keys: Sequence[str]) -> tuple[Patients, str]:
    """Return the patients by the outermost folders that look like one patient each.

    A few folders with many scans each are classes, not patients.
    """
    paths = [key.split("/") for key in keys]
    for depth in range(1, max(map(len, paths), default=1)):
        inside = [path for path in paths if len(path) > depth]
        names = {path[depth - 1] for path in inside}
        folders = _collect("/".join(p[:depth]) if len(p) > depth else None for p in paths)
        sizes = [len(members) for members in folders.values()]
        several = sum(size > 1 for size in sizes)
        if several < 2 or {squash(name) for name in names} & _NO_PATIENT:
            continue
        if len(sizes) > MANY_FOLDERS or len(sizes) >= median(sizes):
            pattern = "^(" + "/".join(["[^/]+"] * depth) + ")/"
            fits = len(inside) == len(paths)
            return folders, f"'data.group={pattern}'" if fits else "data.group=PATTERN"
    return {}, ""
