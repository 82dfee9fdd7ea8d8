"""Atomic writes: a file or a folder appears whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from vae3d.errors import DataError

_UNFINISHED, _OLD = ".tmp-", ".old-"
_CHUNK = 2**20
_OF_OTHERS = {"wandb"}
"""Folders that other programs keep inside of a run, with links of their own; never entered."""


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with its suffixes; on success rename it to `path`.

    The temporary file is flushed to disk before the rename, so that after a crash `path` has
    either the old contents or the new ones. On an exception the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path, _UNFINISHED)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder for files, which replaces `path` on success, as `atomic_write`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path, _UNFINISHED)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            _flush(file)
        _flush(temporary)
        _replace_folder(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_temporary(path: Path) -> bool:
    """Return whether an atomic write made this name, whether it is in progress or was killed."""
    return path.name.startswith((_UNFINISHED, _OLD))


def sweep(folder: Path) -> list[str]:
    """Remove what interrupted writes left in a folder, and return the names that were removed.

    No process may be writing to the folder. A folder whose replacement was interrupted gets its
    old contents back.
    """
    removed = []
    for path in [*folder.iterdir()] if folder.is_dir() else []:
        if path.name.startswith(_OLD):
            name = path.name[len(_OLD) :].split("-", 2)[2]
            if not path.with_name(name).exists():
                path.rename(path.with_name(name))
                continue
        elif not path.name.startswith(_UNFINISHED):
            continue
        removed.append(path.name)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return removed


def check_inside(folder: Path, path: Path) -> Path:
    """Return `path`, which must be below `folder`; the folder itself may be a link.

    Raises:
        DataError: it is elsewhere, or a link leads to it.
    """
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ("..",)
    if ".." in parts:
        raise DataError(f"{path}: is not inside of {folder}")
    for count in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:count])
        if place.is_symlink():
            raise _link_error(place)
    return path


def check_no_links(folder: Path) -> None:
    """Raise a DataError if there is a link below `folder`; `folder` itself may be one.

    What a command reads and writes then stays in the folder that the user named.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(parent, name)):  # noqa: PTH114, PTH118 - many names
                raise _link_error(Path(parent, name))
        folders[:] = [name for name in folders if name not in _OF_OTHERS]


def open_own(path: Path) -> BinaryIO:
    """Open a file that vae3d appends to, which is created if it does not exist.

    Raises:
        OSError: it is no file, or a link or a hard link, behind which is a file of someone else.
    """
    file = open(path, "ab+", opener=_own_descriptor)  # noqa: SIM115 - Path.open has no opener
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no file", str(path))
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "is a hard link to another file; delete it", str(path))
    except BaseException:
        file.close()
        raise
    return file


def _own_descriptor(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe would be waited for.
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, and none is followed here", path) from error
        raise


def _link_error(place: Path) -> DataError:
    return DataError(
        f"{place}: is a link, and none is followed inside of a run, a store, latents or a report; "
        "replace it by what it leads to (a whole run or store may be a link; runs_dir= may be "
        "elsewhere)"
    )


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically.

    Raises:
        ValueError: a float is not finite.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _temporary_path(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def _replace_folder(new: Path, path: Path) -> None:
    # A folder cannot be renamed over a full one: the old one is renamed first.
    if path.is_symlink():
        path.unlink()
    if path.exists():
        old = _temporary_path(path, _OLD)
        path.rename(old)
        new.rename(path)
        shutil.rmtree(old)
    else:
        new.rename(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
