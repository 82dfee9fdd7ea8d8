"""What a file system may lack: locks, flushing, memory maps, a count of its free bytes."""

import errno
import logging
import multiprocessing
import os
import shutil
import sys
import threading
from pathlib import Path

log = logging.getLogger(__name__)

LACKING = (
    *(errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL),
    *(errno.ENOLCK, errno.ENODEV, errno.ENOTTY),
)
"""Errors of a call that the file system does not have."""
_reported: set[str] = set()
_reporting = threading.Lock()


def is_lacking(error: OSError) -> bool:
    """Return whether the file system does not have the call, rather than refuses it."""
    return error.errno in LACKING


def report_once(folder: Path, lack: str, effect: str) -> None:
    """Log what a file system lacks, once for each process; loader workers repeat nothing."""
    with _reporting:
        # Cases are prepared in threads, which may all find out at once.
        is_first = lack not in _reported
        _reported.add(lack)
    if is_first and multiprocessing.parent_process() is None:
        log.warning(f"{folder}: this file system {lack}: {effect}")


def flush(path: Path) -> None:
    """Write a file, or the names in a folder, to the disk, where the file system can do that.

    Raises:
        OSError: the disk failed, or is full.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:
        # A folder in which one may write, but whose names one may not list.
        if path.is_dir():
            return
        raise
    try:
        _flush(descriptor)
    except OSError as error:
        if not is_lacking(error):
            raise
        effect = "after a power cut the last ones may be missing"
        report_once(path.parent, "cannot flush files to the disk", effect)
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # There fsync leaves the data in the memory of the drive.
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError as error:
            if not is_lacking(error):
                raise
    os.fsync(descriptor)


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes of a file system; None where it does not count them."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        if not is_lacking(error):
            raise
        return None
    return usage.free if usage.total else None
