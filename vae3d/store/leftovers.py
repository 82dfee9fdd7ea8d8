"""What a kill leaves in a store, and who may remove it: the holder of the locks of all parts."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

from vae3d.files.atomic import sweep, sweep_below, target_of
from vae3d.files.links import remove_inside
from vae3d.store.catalog import Catalog, Journal
from vae3d.store.settings import CATALOG, SETTINGS

OWN = (SETTINGS, CATALOG)
"""The files of a store whose temporary files are known by name."""
_ARRAY = re.compile(r"cases/[0-9a-f]{2}/[\w.-]{0,80}-[0-9a-f]{8}\.(b2nd|npy)", re.ASCII)
_JOURNAL = re.compile(r"\d{5}-of-\d{5}\.jsonl")


def files_of(folder: Path) -> set[str]:
    """Return the files below `cases`, relative to the store; among them may be temporary ones."""
    return {str(path.relative_to(folder)) for path in folder.glob("cases/??/*")}


def journals_of(folder: Path) -> list[Path]:
    """Return the journals of a store, the one written last at the end."""
    paths = [path for path in folder.glob("parts/*.jsonl") if _JOURNAL.fullmatch(path.name)]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


def sweep_store(folder: Path) -> None:
    """Remove all temporary files of a store."""
    sweep(folder, known=OWN)
    sweep_below(folder, ("cases/??", "parts"))


def sweep_cases(folder: Path, files: Iterable[str]) -> None:
    """Remove the temporary files of these arrays, paths relative to the store."""
    temporary = [path for path in folder.glob("cases/??/.*") if target_of(path)]
    if temporary:
        names = {Path(file).name for file in files}
        for place in {path.parent for path in temporary}:
            sweep(place, of=names)


def remove_unnamed(folder: Path, files: Collection[str]) -> None:
    """Remove the files that no record names, of those that a store writes; others stay."""
    for file in files:
        path = folder / file
        if _ARRAY.fullmatch(file) or target_of(path):
            remove_inside(folder, path)


def remove_finished(folder: Path, files: Collection[str]) -> None:
    """Remove what a kill left after the catalog was written: journals, and arrays not in it.

    `files` are those that the catalog does not name. Journals that hold more than the catalog
    belong to parts that were prepared for a catalog to come: with them everything stays.
    """
    sweep_store(folder)
    journals = journals_of(folder)
    if journals:
        stamps = {case_id: stamp for case_id, _, _, stamp in Catalog(folder / CATALOG).stamps()}
        records = (record for path in journals for record in Journal(path).records())
        latest = {record.case_id: record.stamp for record in records}
        if any(stamps.get(case_id) != stamp for case_id, stamp in latest.items()):
            return
    remove_unnamed(folder, [file for file in files if (folder / file).exists()])
    for path in journals:
        remove_inside(folder, path)


def has_finished(folder: Path, files: Collection[str]) -> bool:
    """Return whether `remove_finished` may have something to do."""
    return bool(
        any(_ARRAY.fullmatch(file) or target_of(folder / file) for file in files)
        or journals_of(folder)
        or any(target_of(path, OWN) for path in folder.glob(".*"))
    )
