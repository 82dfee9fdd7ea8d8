"""`checksums.json`: what the files of a folder held when a command finished it.

It names the SHA-256 and the size of files that a person may edit and a program reads back. A file
that was changed since is used, with a warning. Folders of earlier versions have no such list.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, DataError
from vae3d.files.atomic import write_json
from vae3d.files.links import check_inside
from vae3d.files.plain import from_plain, read_json
from vae3d.files.reading import open_regular

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.json"
FORMAT = 1
MAX_BYTES = 4 * 2**30
"""Largest file with a recorded sum; the largest in practice is the catalog of a store."""
_CHUNK = 2**20
_warned: set[tuple[str, str]] = set()
_known: dict[tuple[Any, ...], "Sum"] = {}


@dataclass(frozen=True)
class Sum:
    """The SHA-256 of a file, in hexadecimal digits, and its size in bytes."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> "Sum":
        """Read a file; one that was read before and has the same inode and times is not again.

        Raises:
            OSError: it cannot be read, is no file, or has more than MAX_BYTES.
        """
        with open_regular(path, MAX_BYTES) as file:
            found = os.fstat(file.fileno())
            times = found.st_mtime_ns, found.st_ctime_ns
            key = os.fspath(path), found.st_dev, found.st_ino, found.st_size, *times
            if key not in _known:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                _known[key] = cls(digest.hexdigest(), file.tell())
        return _known[key]


@contextlib.contextmanager
def sealing(folder: Path, *patterns: str) -> Iterator[None]:
    """Record the files that are written within the context, which `patterns` name.

    Their earlier sums are forgotten first: after a kill the files are unknown, not changed.
    """
    forget(folder, *patterns)
    yield
    seal(folder, *patterns)


def forget(folder: Path, *patterns: str) -> None:
    """Remove the sums of files that will change."""
    sums = recorded(folder)
    kept = {name: sum_ for name, sum_ in sums.items() if not _fits(name, patterns)}
    if kept != sums:
        _write(folder, kept)


def seal(folder: Path, *patterns: str, known: Mapping[str, Sum] | None = None) -> None:
    """Record what the files of a folder hold now; of `known` ones, what they must hold."""
    found = {path.relative_to(folder).as_posix() for p in patterns for path in folder.glob(p)}
    sums = {name: Sum.of(check_inside(folder, folder / name)) for name in found}
    _write(folder, {**recorded(folder), **sums, **(known or {})})


def is_sealed(folder: Path, *names: str) -> bool:
    """Return whether all these files have recorded sums."""
    return {*names} <= {*recorded(folder)}


def recorded(folder: Path) -> dict[str, Sum]:
    """Return the recorded sums by the files' names; none without a `checksums.json` to read."""
    try:
        return read_sums(folder)
    except ConfigError as error:
        reason = f"{error}; changes of files here are not noticed until it is removed"
        _warn_once(folder / CHECKSUMS, "", reason)
        return {}


def read_sums(folder: Path) -> dict[str, Sum]:
    """Return the recorded sums by the files' names; none without a `checksums.json`.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        values = from_plain(dict[str, Any], read_json(folder / CHECKSUMS))
        if values.get("format") != FORMAT:
            raise ConfigError(f"format must be {FORMAT}")
        sums: dict[str, Sum] = from_plain(dict[str, Sum], values.get("files"), "files")
    except OSError:
        return {}
    except TypeError as error:
        raise ConfigError(str(error)) from error
    return sums


def is_changed(path: Path, folder: Path | None = None) -> bool:
    """Return whether a file holds other bytes than those recorded in `folder`, by default its own.

    A file without a record counts as unchanged, one that cannot be read too: its reader says so.
    """
    folder = folder or path.parent
    name = path.relative_to(folder).as_posix()
    try:
        expected = recorded(folder).get(name)
        if expected is None or _holds(path, expected):
            return False
        # Another process may have finished the folder again between the two readings.
        return recorded(folder).get(name) == expected and not _holds(path, expected)
    except OSError:
        return False


def warn_if_changed(path: Path, folder: Path | None = None) -> None:
    """Log one line, once in a process, if a file that is about to be used was changed."""
    if is_changed(path, folder):
        found = path.stat()
        _warn_once(
            path,
            f"{found.st_size} {found.st_mtime_ns}",
            f"was changed after vae3d wrote it, and is used as it is now; vae3d verify "
            f"{folder or path.parent} accept=true accepts the change",
        )


def holds(folder: Path, name: str, expected: Sum) -> bool:
    """Return whether a recorded file of a folder is unchanged.

    Raises:
        DataError: it is not inside of the folder.
        OSError: it is missing, or cannot be read.
    """
    return _holds(check_inside(folder, folder / name), expected)


def accept(folder: Path, *names: str) -> None:
    """Record files of a folder as they are now, and no more those that are missing.

    Raises:
        DataError: one of them, or the record, cannot be read or written.
    """
    sums = recorded(folder)
    try:
        for name in names:
            sums.pop(name, None)
            with contextlib.suppress(FileNotFoundError):
                sums[name] = Sum.of(check_inside(folder, folder / name))
        _write(folder, sums)
    except OSError as error:
        place = error.filename or folder / CHECKSUMS
        raise DataError(
            f"{place}: {(error.strerror or str(error)).lower()}; to accept changes, {CHECKSUMS} "
            f"in {folder} must be written"
        ) from error


def _holds(path: Path, expected: Sum) -> bool:
    """Return whether a file holds these bytes; one of another size is not read.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    with open_regular(path) as file:
        same_size = os.fstat(file.fileno()).st_size == expected.bytes
    return same_size and Sum.of(path) == expected


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _write(folder: Path, sums: dict[str, Sum]) -> None:
    path = folder / CHECKSUMS
    if not sums:
        path.unlink(missing_ok=True)
        return
    files = {name: asdict(sums[name]) for name in sorted(sums)}
    write_json(path, {"format": FORMAT, "files": files})


def _warn_once(path: Path, version: str, reason: str) -> None:
    key = str(path.absolute()), version
    if key not in _warned:
        _warned.add(key)
        log.warning(f"{path}: {reason}")
