"""`Finding`: what is known of one file, and the checks that several kinds of folders share."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vae3d.errors import ConfigError
from vae3d.files.atomic import file_digest
from vae3d.files.checksums import CHECKSUMS, changed, read_sums
from vae3d.files.reading import open_regular
from vae3d.scans.png import check_chunks

WHOLE, CHANGED, DAMAGED, UNKNOWN = "whole", "changed", "damaged", "no checksum"
STATES = (WHOLE, CHANGED, DAMAGED, UNKNOWN)
TEXT = (".csv", ".json", ".yaml", ".md")
"""Files that a person may edit: other bytes than those written are a change, else damage."""
_PIECE = 2**20


@dataclass(frozen=True)
class Finding:
    """The state of a file and, if it is not whole, the reason."""

    path: Path
    state: str
    reason: str = ""


def of_digest(path: Path, expected: str | None) -> Finding:
    """Compare the SHA-256 of a file with the one that was recorded."""
    if not expected:
        return Finding(path, UNKNOWN)
    try:
        is_whole = file_digest(path) == expected
    except OSError as error:
        return Finding(path, DAMAGED, (error.strerror or str(error)).lower())
    reason = "its SHA-256 is not the recorded one"
    return Finding(path, WHOLE) if is_whole else Finding(path, DAMAGED, reason)


def of_sums(folder: Path) -> Iterator[Finding]:
    """Compare the files that `checksums.json` names."""
    try:
        sums = read_sums(folder)
    except ConfigError as error:
        yield Finding(folder / CHECKSUMS, DAMAGED, str(error))
        return
    reasons = changed(folder)
    for name in sums:
        path, reason = folder / name, reasons.get(name, "")
        is_edited = path.suffix in TEXT and path.is_file()
        state = (CHANGED if is_edited else DAMAGED) if reason else WHOLE
        yield Finding(path, state, reason)


def of_format(path: Path) -> Finding:
    """Verify the checksums that the format of a file has, if it has any."""
    check = FORMATS.get(path.suffix.lower())
    if check is None:
        return Finding(path, UNKNOWN)
    try:
        with open_regular(path) as file:
            check(file)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it is truncated"
        return Finding(path, DAMAGED, reason)
    return Finding(path, WHOLE)


def _check_gzip(file: BinaryIO) -> None:
    with gzip.GzipFile(fileobj=file) as stream:
        while stream.read(_PIECE):
            pass


FORMATS: dict[str, Callable[[BinaryIO], None]] = {".png": check_chunks, ".gz": _check_gzip}


def others(folder: Path, known: set[Path]) -> Iterator[Finding]:
    """Check the files directly in a folder that nothing else has checked."""
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") or path.name == CHECKSUMS
        if path not in known and not hidden and path.is_file() and not path.is_symlink():
            yield of_format(path)
