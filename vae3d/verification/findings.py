"""`Finding`: what is known of one file, and the checks that several kinds of folders share."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vae3d.errors import ConfigError
from vae3d.files.atomic import file_digest
from vae3d.files.checksums import CHECKSUMS, holds, read_sums
from vae3d.files.gzipped import GZIP_ERRORS, open_gzip
from vae3d.files.reading import open_regular, reason_of
from vae3d.runtime.messages import counted
from vae3d.scans.png import check_chunks

WHOLE, CHANGED, DAMAGED, MISSING = "whole", "changed", "damaged", "missing"
UNREADABLE, UNFINISHED, UNKNOWN = "unreadable", "unfinished", "no checksum"
STATES = (WHOLE, CHANGED, DAMAGED, MISSING, UNREADABLE, UNFINISHED, UNKNOWN)
FAULTS = (DAMAGED, MISSING, UNREADABLE, CHANGED)
"""States of files that are not as they were written, or may not be."""
TEXT = (".csv", ".json", ".yaml", ".md")
"""Files that a person may edit: other bytes than those written are a change, else damage."""
IS_MISSING = "is missing"
_PIECE = 2**20
_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, *GZIP_ERRORS)


@dataclass(frozen=True)
class Finding:
    """The state of a file and, if it is not whole, the reason.

    A folder that is gone with all its files is one finding too.
    """

    path: Path
    state: str
    reason: str = ""


def of_error(path: Path, error: Exception, state: str = DAMAGED) -> Finding:
    """Return why a file could not be read: it is missing, may not be read, or is in a `state`.

    The errors of readers are looked through for the one of the system.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FileNotFoundError | NotADirectoryError):
            return Finding(path, MISSING, IS_MISSING)
        if isinstance(cause, PermissionError):
            return Finding(path, UNREADABLE, f"cannot be read ({cause.strerror})")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError):
        return Finding(path, state, reason_of(error))
    return Finding(path, state, " ".join(str(error).split()).removeprefix(f"{path}: "))


def unfinished(folder: Path, command: str, is_busy: bool | None) -> Finding:
    """Return the finding of what a command did not end yet; `is_busy` if it runs."""
    way = "is at work" if is_busy else "did not end; the same command resumes it"
    return Finding(folder, UNFINISHED, f"{command} {way}")


def of_digest(path: Path, expected: str | None) -> Finding:
    """Compare the SHA-256 of a file with the one that was recorded."""
    if not expected:
        return Finding(path, UNKNOWN)
    try:
        is_whole = file_digest(path) == expected
    except OSError as error:
        return of_error(path, error)
    reason = "its SHA-256 is not the recorded one"
    return Finding(path, WHOLE) if is_whole else Finding(path, DAMAGED, reason)


def of_sums(folder: Path) -> Iterator[Finding]:
    """Compare the files that `checksums.json` names."""
    try:
        sums = read_sums(folder)
    except ConfigError as error:
        yield of_error(folder / CHECKSUMS, error)
        return
    for name, expected in sums.items():
        path = folder / name
        try:
            is_whole = holds(folder, name, expected)
        except OSError as error:
            yield of_error(path, error)
            continue
        if is_whole:
            yield Finding(path, WHOLE)
        else:
            state = CHANGED if path.suffix in TEXT else DAMAGED
            yield Finding(path, state, "was changed after vae3d wrote it")


def of_format(path: Path) -> Finding:
    """Verify the checksums that the format of a file has, if it has any."""
    check = FORMATS.get(path.suffix.lower())
    if check is None:
        return Finding(path, UNKNOWN)
    try:
        with open_regular(path) as file:
            check(file)
    except _ERRORS as error:
        found = of_error(path, error)
        return found if found.reason else Finding(path, DAMAGED, "it is truncated")
    return Finding(path, WHOLE)


def _check_gzip(file: BinaryIO) -> None:
    with open_gzip(file) as stream:
        while stream.read(_PIECE):
            pass


FORMATS: dict[str, Callable[[BinaryIO], None]] = {".png": check_chunks, ".gz": _check_gzip}


def others(folder: Path, known: set[Path]) -> Iterator[Finding]:
    """Check the files directly in a folder that nothing else has checked."""
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".") or path.name == CHECKSUMS
        if path not in known and not hidden and path.is_file() and not path.is_symlink():
            yield of_format(path)


def expected_folder(folder: Path, names: Iterable[str], reason: str) -> Iterator[Finding]:
    """Yield a finding if a folder is gone, or holds none of the files of its kind.

    `reason` says which record names it.
    """
    try:
        if any((folder / name).exists() for name in (*names, CHECKSUMS)):
            return
        state = "holds none of its files" if folder.exists() else IS_MISSING
    except PermissionError as error:
        yield of_error(folder, error)
        return
    yield Finding(folder, MISSING, f"{state}; {reason}")


def by_folder(top: Path, findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings, those of all files of a folder below `top` that is gone as one."""
    kept: list[Finding] = []
    lost: dict[Path, int] = {}
    gone: dict[Path, Path | None] = {}
    for finding in findings:
        parent = finding.path.parent
        if finding.reason == IS_MISSING and parent not in gone:
            gone[parent] = _gone(top, parent)
        place = gone.get(parent) if finding.reason == IS_MISSING else None
        if place is None:
            kept.append(finding)
        else:
            lost[place] = lost.get(place, 0) + 1
    for place, count in lost.items():
        kept.append(Finding(place, MISSING, f"{IS_MISSING}, with {counted(count, 'file')}"))
    return kept


def _gone(top: Path, folder: Path) -> Path | None:
    """Return the highest folder on the way from `top` to a file that does not exist."""
    below = [place for place in (folder, *folder.parents) if top in place.parents]
    return next((place for place in reversed(below) if not os.path.lexists(place)), None)
