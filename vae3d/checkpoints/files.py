"""The files of a checkpoint, and whether each is as the manifest names it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vae3d.errors import ConfigError
from vae3d.files.atomic import file_digest
from vae3d.files.plain import MAX_JSON_BYTES, read_json
from vae3d.files.reading import open_regular

STATE, ABOUT, MANIFEST = "state.pt", "about.json", "manifest.json"
LIMITS = {STATE: None, ABOUT: MAX_JSON_BYTES}
"""Largest sizes of the files, in bytes."""
_END_OF_ARCHIVE, _MAX_END_BYTES = b"PK\5\6", 2**16


def check_files(folder: Path, names: Sequence[str] = (STATE, ABOUT)) -> Iterator[tuple[str, str]]:
    """Compare files with a checkpoint's manifest; yield each name and what is wrong, or ""."""
    try:
        sums: dict[str, str] = read_json(folder / MANIFEST)
        missing = {*names} - {*sums}
    except FileNotFoundError:
        yield MANIFEST, "is missing"
        return
    except (OSError, ConfigError, ValueError, TypeError) as error:
        yield MANIFEST, f"cannot be read: {error}"
        return
    if missing:
        yield MANIFEST, f"does not name {min(missing)}"
        return
    yield MANIFEST, ""
    for name in names:
        yield name, _problem(folder / name, sums[name])


def _problem(path: Path, expected: object) -> str:
    try:
        if path.name == STATE and not _ends_whole(path):
            return "damaged, its end is missing"
        digest = file_digest(path, LIMITS[path.name])
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if digest == expected:
        return ""
    return (
        f"damaged, its SHA-256 is {digest[:12]}..., in the manifest it is {str(expected)[:12]}..."
    )


def _ends_whole(path: Path) -> bool:
    """Return whether a file ends as those of torch do, before all of it is read.

    A few bytes on disk may claim to be terabytes, whose SHA-256 takes hours.
    """
    with open_regular(path) as file:
        file.seek(-min(_MAX_END_BYTES, path.stat().st_size), os.SEEK_END)
        return _END_OF_ARCHIVE in file.read(_MAX_END_BYTES)
