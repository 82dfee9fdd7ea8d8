"""`locked`: one process at a time in a folder."""

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from vae3d.errors import LockedError

try:
    import fcntl
except ImportError:  # Windows: nothing there keeps two runs apart
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the lock file `path` until the context or this process ends, however it ends.

    The system's record lock belongs to the process, not to the file: a loader worker that outlives
    its killed parent does not keep it, and the file itself means nothing.

    Raises:
        LockedError: another process holds it; the message names it.
    """
    with path.open("a+", encoding="utf-8") as file:
        _acquire(file, path)
        file.truncate(0)
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        file.write(json.dumps({"pid": os.getpid(), "started": started}))
        file.flush()
        yield


def _acquire(file: IO[str], path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise LockedError(
            f"{path.parent}: another process writes here ({_owner(file)}); wait for it, end it, "
            "or choose another folder"
        ) from None


def _owner(file: IO[str]) -> str:
    file.seek(0)
    try:
        owner = json.loads(file.read(4096))
        return f"process {int(owner['pid'])} since {str(owner['started'])[:40]}"
    except (ValueError, KeyError, TypeError):
        return "it has not told its name"
