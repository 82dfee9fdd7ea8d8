"""Search a folder for scans, and leave out those that the settings or their values exclude."""

import fnmatch
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Protocol

from vae3d.errors import DataError, VolumeError
from vae3d.files.paths import user_path
from vae3d.lists.entries import Entry
from vae3d.lists.left_out import LABEL_MAP
from vae3d.lists.walk import walk
from vae3d.scans.files import read_volume
from vae3d.scans.foreign import foreign_files, may_be_foreign, refusal
from vae3d.scans.formats import case_name, is_scan, suffixes
from vae3d.scans.labels import label_name, label_values
from vae3d.values.naming import case_id_fault

log = logging.getLogger(__name__)

MAX_CHECKED = 64
"""Files that are read of those with one name or folder of label maps; if all of them are label
maps or none is, so are the others."""
READERS = 4
"""Files that are read concurrently to know whether they are label maps."""


class Choosing(Protocol):
    """Settings that choose among the scans of a folder, as those of `data=ct` do."""

    root: str | None
    include: list[str]
    exclude: list[str]
    label_maps: str | None
    channel: int | None


def search(root: str, axes: int, key: str = "data.root") -> list[Entry]:
    """Return all scans with `axes` axes below the folder `root`, or the one scan that it names.

    A file that several links point to is listed once. Scans of formats that cannot be read are
    counted in a warning. `key` is the setting that named `root`.

    Raises:
        DataError: no such folder, no scan in it, or far too many folders without one.
    """
    folder, endings = user_path(root), suffixes(axes)
    if folder.is_file() and folder.name.lower().endswith(endings):
        name = case_name(folder.name)
        if fault := case_id_fault(name):
            raise DataError(f"{key}: the name of {fault}; rename it")
        return [Entry(folder, name, name)]
    if not folder.is_dir():
        raise DataError(f"{key}: {_no_scan(folder, axes)}")

    def is_wanted(name: str) -> bool:
        return name.lower().endswith(endings) and is_scan(name)

    # Of millions of files most are neither a scan nor looked at again.
    files = [
        path for path in walk(folder, is_wanted, key) if is_scan(path) or may_be_foreign(path)
    ]
    scans: dict[str, Path] = {}
    for path in sorted(path for path in files if is_wanted(path.name)):
        # realpath, since Path.resolve raises an error for a link to itself.
        scans.setdefault(os.path.realpath(path), path)
    others = [path for path in files if not is_wanted(path.name)]
    foreign = foreign_files(others)
    if not scans:
        hint = f"; it holds {foreign}" if foreign else _other_kind(others, axes)
        raise DataError(f"{key}: no scans ({', '.join(endings)}) found in {folder}{hint}")
    if foreign:
        log.warning(f"{key}: {folder} also holds {foreign}")
    for path in scans.values():
        # The folder itself may have any name; reports and catalogs name what is below.
        fault = case_id_fault(path.relative_to(folder).as_posix())
        if not fault and not _is_utf8(path):
            fault = f"{path.as_posix()!a:.200} is not UTF-8"
        if fault:
            raise DataError(f"{key}: the name of {fault}; rename it")
    names = [path.relative_to(folder) for path in scans.values()]
    clashes = Counter(map(case_name, names))
    # If a.nii and a.nii.gz are in one folder, both keep their suffixes.
    ids = [name.as_posix() if clashes[case_name(name)] > 1 else case_name(name) for name in names]
    return [
        Entry(path, case_id, case_name(name))
        for path, case_id, name in zip(scans.values(), ids, names, strict=True)
    ]


def _is_utf8(path: Path) -> bool:
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_scan(path: Path, axes: int) -> str:
    """Return why a path that is no folder names no scan with `axes` axes."""
    if not path.exists():
        return f"no such folder or scan: {path}" + (
            "" if path.is_absolute() else f" ({path.absolute()})"
        )
    way_out = _other_kind([path], axes) or f"; scans end in {', '.join(suffixes(axes))}"
    return f"{path} {refusal(path) or f'is no scan{way_out}'}"


def _other_kind(files: list[Path], axes: int) -> str:
    """Return what to type if the files are scans with another number of axes."""
    count = sum(is_scan(path) for path in files)
    if not count:
        return ""
    kind = "data=images_2d" if axes == 3 else "data=ct or data=mri"
    found = "1 file is" if count == 1 else f"{count} files are"
    return f"; {found} {5 - axes}D: type {kind}"


def chosen(
    config: Choosing, axes: int, key: str = "data.root"
) -> tuple[list[Entry], dict[str, str]]:
    """Return the scans of `data.root` that the settings choose, and why others are left out.

    A file that a pattern of `data.include` matches is never taken for a label map, nor is the
    one scan that `data.root` names. The reasons are by case id.

    Raises:
        DataError: no such folder, no scan in it, or none that is chosen.
    """
    assert config.root is not None, "checked before"
    entries = search(config.root, axes, key)
    folder = user_path(config.root)
    if not folder.is_dir():
        return entries, {}
    names = {entry.case_id: entry.path.relative_to(folder).as_posix() for entry in entries}
    left_out = _by_patterns(config, names)
    if not config.include and config.label_maps != "keep":
        rest = [entry for entry in entries if entry.case_id not in left_out]
        left_out |= _label_maps(rest, names, config.channel)
    kept = [entry for entry in entries if entry.case_id not in left_out]
    if not kept:
        case_id, reason = next(iter(left_out.items()))
        way = "change data.include and data.exclude"
        if not (config.include or config.exclude):
            way = "data.label_maps=keep reads them"
        raise DataError(
            f"{key}: all {len(entries)} scans in {folder} are left out, such as {case_id} "
            f"({reason}); {way}"
        )
    return kept, left_out


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern fits a path below the folder of scans.

    It fits the whole path, the name of the file or of a folder above it, or several of them in a
    row: `ct.nii.gz`, `segmentations`, `*/ct.nii.gz` and `sub-0*/anat/*` are patterns. `*` is any
    text, `?` any character and `[ab]` one of some.
    """
    # Each pattern may begin and end anywhere between two parts, so ** adds nothing there.
    pattern = pattern.strip("/").removeprefix("./").removeprefix("**/").removesuffix("/**")
    forms = {pattern, pattern.replace("/**/", "/")}
    parts = PurePosixPath(name).parts
    return any(
        fnmatch.fnmatchcase("/".join(parts[first:last]), form)
        for first in range(len(parts))
        for last in range(first + 1, len(parts) + 1)
        for form in forms
    )


def _by_patterns(config: Choosing, names: dict[str, str]) -> dict[str, str]:
    """Return the reasons for the cases that data.include and data.exclude leave out."""
    fits = {
        pattern: {case_id for case_id, name in names.items() if matches(name, pattern)}
        for pattern in (*config.include, *config.exclude)
    }
    for key, patterns in (("include", config.include), ("exclude", config.exclude)):
        for pattern in patterns:
            if not fits[pattern]:
                log.warning(
                    f"data.{key}={pattern}: fits none of the {len(names)} scans in {config.root}, "
                    f"such as {next(iter(names.values()))}; a pattern is a path below data.root, "
                    "or the name of a file or a folder, with * for any text"
                )
    left_out = {}
    for case_id in names:
        excluding = [pattern for pattern in config.exclude if case_id in fits[pattern]]
        if excluding:
            left_out[case_id] = f"fits data.exclude={excluding[0]}"
        elif config.include and not any(case_id in fits[p] for p in config.include):
            left_out[case_id] = "fits no pattern of data.include"
    return left_out


def _label_maps(
    entries: Sequence[Entry], names: dict[str, str], channel: int | None
) -> dict[str, str]:
    """Return the reasons for the cases that are label maps by their names and their values."""
    suspects: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if word := label_name(names[entry.case_id]):
            # Each name of a file is suspect in its own way, a folder for all of its files.
            suspects[word if word.startswith("folder") else "name"].append(entry)
    reasons = {}
    with ThreadPoolExecutor(READERS) as pool:
        for members in suspects.values():
            step = -(-len(members) // MAX_CHECKED)
            checked = members[::step]
            values = dict(
                zip(
                    [entry.case_id for entry in checked],
                    pool.map(lambda entry: _values_of(entry, channel), checked),
                    strict=True,
                )
            )
            if all(values.values()):
                rest = f"taken for one since {len(checked)} others were read and are"
                values = {entry.case_id: values.get(entry.case_id, rest) for entry in members}
            elif step > 1 and any(values.values()):
                others = [entry for entry in members if entry.case_id not in values]
                found = pool.map(lambda entry: _values_of(entry, channel), others)
                values |= dict(zip([e.case_id for e in others], found, strict=True))
            for case_id, text in values.items():
                if text is not None:
                    reasons[case_id] = f"{LABEL_MAP}: {label_name(names[case_id])}, {text}"
    return dict(sorted(reasons.items()))


def _values_of(entry: Entry, channel: int | None) -> str | None:
    try:
        volume = read_volume(entry.path, channel=channel, case_id=entry.case_id)
    except VolumeError:
        return None  # reported when the scan is read
    return label_values(volume.data.numpy())
