"""`locked`: one process at a time in a folder."""

import contextlib
import errno
import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from vae3d.errors import LockedError
from vae3d.files.links import open_own
from vae3d.files.reading import open_regular
from vae3d.system.abilities import is_lacking, report_once

try:
    import fcntl
except ImportError:  # Windows has no fcntl: there two runs can write to one folder
    fcntl = None  # type: ignore[assignment]

HELD = (errno.EACCES, errno.EAGAIN)
"""Errors of a lock that another process holds."""


@contextlib.contextmanager
def locked(path: Path, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` until the context or this process ends, for whatever reason.

    The system's record lock belongs to the process, not to the file. A loader worker that outlives
    its killed parent does not keep the lock, and a file that exists is not yet a lock.

    A hard link, as `cp -al` and backups make, is locked with the files that it is linked to, and
    nothing is written to it: it may be a file of someone else.

    With `on_wait`, wait for a lock that another process holds, after calling `on_wait` once.

    Raises:
        LockedError: another process holds it, and `on_wait` is None; the message names it.
    """
    with open_own(path, linked=True) as file:
        _acquire(file, path, on_wait)
        if on_wait is None and not _is_shared(file):
            _sign(file)
        yield


def is_held(path: Path) -> bool | None:
    """Return whether another process holds the lock file `path`.

    None where that cannot be found out: the file system has no locks, or the file may not be read.
    """
    if fcntl is None:
        return None
    try:
        file = open_regular(path)
    except PermissionError:
        return None
    except OSError:
        return False
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return True if error.errno in HELD else None
    return False


def _is_shared(file: BinaryIO) -> bool:
    return os.fstat(file.fileno()).st_nlink > 1


def _sign(file: BinaryIO) -> None:
    """Write who holds the lock, for those who are refused."""
    file.truncate(0)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    file.write(json.dumps({"pid": os.getpid(), "started": started}).encode())
    file.flush()


def _acquire(file: BinaryIO, path: Path, on_wait: Callable[[], None] | None) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if is_lacking(error):
            effect = "two processes that write here at the same time are not noticed"
            report_once(path.parent, "has no locks", effect)
            return
        if error.errno not in HELD:
            raise
        if on_wait is not None:
            on_wait()
            fcntl.lockf(file, fcntl.LOCK_EX)
            return
        raise LockedError(
            f"{path.parent}: another process writes here ({_owner(file)}); wait for it, end it, "
            "or choose another folder"
        ) from None


def _owner(file: BinaryIO) -> str:
    if _is_shared(file):
        return "here or in a folder that was copied with hard links"
    try:
        file.seek(0)
        owner = json.loads(file.read(4096))
        return f"process {int(owner['pid'])} since {str(owner['started'])[:40]}"
    except (ValueError, KeyError, TypeError):
        return "unknown process id"
