"""Walk through the folders below one: with a line from time to time, and an end."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vae3d.errors import DataError

log = logging.getLogger(__name__)

OWN_FOLDERS = ({"store.json", "cases"}, {"config.yaml", "metrics.csv", "weights"})
"""Files that mark a store and a run folder: their arrays and reconstructions are no new scans."""
MAX_FOLDERS, MAX_FILES = 20_000, 1_000_000
"""Folders and files without a scan after which the search ends: it is in the wrong place."""
NOTICE_SECONDS = 10.0


def walk(folder: Path, is_wanted: Callable[[str], bool], key: str) -> Iterator[Path]:
    """Yield the files below a folder but for those in stores and runs; links are followed.

    `is_wanted` is true for the names that are searched for, `key` is the setting of the folder.

    Raises:
        DataError: MAX_FOLDERS folders or MAX_FILES files in a row hold none.
    """
    # Visit each real folder once: a link to a folder above itself would never end.
    visited: set[str] = set()
    barren_folders = barren_files = found = 0
    noticed = time.monotonic()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in visited or any(mark <= {*files, *folders} for mark in OWN_FOLDERS):
            folders.clear()
            continue
        visited.add(real)
        wanted = sum(map(is_wanted, files))
        found += wanted
        barren_folders = 0 if wanted else barren_folders + 1
        barren_files = 0 if wanted else barren_files + len(files)
        if barren_folders > MAX_FOLDERS or barren_files > MAX_FILES:
            raise DataError(_wrong_place(folder, key, len(visited), found))
        if time.monotonic() - noticed > NOTICE_SECONDS:
            noticed = time.monotonic()
            log.info(
                f"{key}: searching {folder}: {len(visited):,} folders, {found:,} scans so far"
            )
        yield from (Path(parent, name) for name in files)


def _wrong_place(folder: Path, key: str, folders: int, found: int) -> str:
    way = " or list the scans in a file, data.list=" if key == "data.root" else ""
    return (
        f"{key}: {folder} is too large to search: {found:,} scans in {folders:,} folders, none in "
        f"the last {MAX_FOLDERS:,} folders or {MAX_FILES:,} files; name a narrower {key}{way}"
    )
