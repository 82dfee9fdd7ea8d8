"""Files that appear whole or not at all."""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_UNFINISHED, _OLD = ".tmp-", ".old-"
_CHUNK = 2**20


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffixes; on success it takes its place.

    The temporary file is flushed to disk before the rename, so that after a crash `path` holds
    either the old contents or the new ones. On an exception it is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, _UNFINISHED)
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Like `atomic_write` for a folder of flat files; an older `path` is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path, _UNFINISHED)
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


def sweep(folder: Path) -> list[str]:
    """Removes what interrupted writes left in a folder that nobody writes to; gives the names.

    A folder whose replacement was interrupted gets its old contents back.
    """
    swept = []
    for path in [*folder.iterdir()] if folder.is_dir() else []:
        if path.name.startswith(_OLD):
            name = path.name[len(_OLD) :].split("-", 2)[2]
            if not path.with_name(name).exists():
                path.rename(path.with_name(name))
                continue
        elif not path.name.startswith(_UNFINISHED):
            continue
        swept.append(path.name)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return swept


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically; a float that is not finite is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _beside(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def _replace_folder(new: Path, path: Path) -> None:
    # A folder cannot be renamed over a full one: the old one steps aside first.
    if path.is_symlink():
        path.unlink()
    if path.exists():
        aside = _beside(path, _OLD)
        path.rename(aside)
        new.rename(path)
        shutil.rmtree(aside)
    else:
        new.rename(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
