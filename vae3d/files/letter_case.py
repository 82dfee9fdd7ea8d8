"""`ignores_case`: file systems, as those of macOS, for which `Scan` and `scan` are one name."""

import os
import secrets
from pathlib import Path


def ignores_case(folder: Path) -> bool:
    """Return whether names that differ only in case are one file there.

    It writes an empty temporary file to the folder, or to the nearest parent that exists; what a
    kill leaves of it is swept as that of an atomic write.

    Raises:
        OSError: the folder cannot be written.
    """
    place = next(path for path in (folder, *folder.parents) if path.is_dir())
    probe = place / f".tmp-{os.getpid()}-{secrets.token_hex(4)}-case"
    probe.touch(exist_ok=False)
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink(missing_ok=True)
