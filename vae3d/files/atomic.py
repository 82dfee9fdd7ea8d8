"""Atomic writes: a file or a folder appears whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from vae3d.files.reading import open_regular
from vae3d.system.abilities import flush
from vae3d.system.limits import naming

_UNFINISHED, _OLD = ".tmp-", ".old-"
_TEMPORARY = re.compile(r"\.(?:tmp|old)-\d+-([0-9a-f]+)-(.+)", re.DOTALL)
_TOKEN_BYTES = 4
_CHUNK = 2**20


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with its suffixes; on success rename it to `path`.

    The temporary file is flushed to disk before the rename, so that after a crash `path` has
    either the old contents or the new ones. On an exception the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path, _UNFINISHED)
    try:
        with naming(path, temporary):
            yield temporary
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder for files, which replaces `path` on success, as `atomic_write`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path, _UNFINISHED)
    temporary.mkdir()
    try:
        with naming(path, temporary):
            yield temporary
            for file in temporary.iterdir():
                flush(file)
            flush(temporary)
            _replace_folder(temporary, path)
            flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def target_of(path: Path, known: Collection[str] = ()) -> str | None:
    """Return the name that an atomic write was to give to a temporary path; None for other paths.

    Only names of exactly the form that atomic writes choose are temporary: a user's file called
    `.tmp-notes` is none. If the target is one of the `known` names, the random part may have any
    length.
    """
    match = _TEMPORARY.fullmatch(path.name)
    if match is None:
        return None
    exact = len(match[1]) == 2 * _TOKEN_BYTES
    return match[2] if exact or match[2] in known else None


def sweep(
    folder: Path, of: Collection[str] | None = None, known: Collection[str] = ()
) -> list[str]:
    """Remove what interrupted writes left in a folder, and return the names that were removed.

    No process may be writing to the folder, or to the files `of` these names if they are given. A
    folder whose replacement was interrupted gets its old contents back. `known` is as for
    `target_of`.
    """
    removed = []
    for path in [*folder.iterdir()] if folder.is_dir() else []:
        target = target_of(path, known)
        if target is None or (of is not None and target not in of):
            continue
        if path.name.startswith(_OLD) and not path.with_name(target).exists():
            path.rename(path.with_name(target))
            continue
        removed.append(path.name)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return removed


def sweep_below(folder: Path, patterns: Iterable[str]) -> None:
    """Sweep a folder and those below it that match the patterns, but none through a link."""
    sweep(folder)
    for pattern in patterns:
        for place in folder.glob(pattern):
            below = [place, *place.parents]
            if not any(path.is_symlink() for path in below[: below.index(folder)]):
                sweep(place)


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


def file_digest(path: Path, limit: int | None = None) -> str:
    """Return the SHA-256 of a file, of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`.
    """
    digest = hashlib.sha256()
    with open_regular(path, limit) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _temporary_path(path: Path, prefix: str) -> Path:
    return path.with_name(f"{prefix}{os.getpid()}-{secrets.token_hex(_TOKEN_BYTES)}-{path.name}")


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
