"""The scans that `vae3d decode` and `vae3d reconstruct` write, against their record."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.files.lock import is_held
from vae3d.files.sole_writer import LOCK, lock_of
from vae3d.files.unfinished import FINISHED, UNFINISHED, OutputRecord
from vae3d.verification.findings import DAMAGED, Finding, of_digest, of_format, unfinished

COMMANDS = "vae3d decode or vae3d reconstruct"


def findings(folder: Path) -> Iterator[Finding]:
    """Compare the files with their SHA-256; of a command that did not end, verify their format."""
    for record in _records(folder):
        for name, origin in {**record.ended, **record.begun}.items():
            path = folder / name
            if path.is_symlink():
                yield Finding(path, DAMAGED, "is a link, and none is followed here")
            elif name not in record.begun:
                yield of_digest(path, origin.sum.sha256 if origin.sum else None)
            elif path.exists():
                yield of_format(path)
        if record.unfinished.exists():
            lock = lock_of(record.place) if record.is_file else folder / LOCK
            yield unfinished(record.place, COMMANDS, is_held(lock))


def _records(folder: Path) -> list[OutputRecord]:
    """Return the records of the folder itself and of single files in it."""
    found = {
        path.name.removesuffix(suffix)[1:]
        for suffix in (FINISHED, UNFINISHED)
        for path in folder.glob(f".*{suffix}")
    }
    names = sorted(found - {""})
    whole = [OutputRecord(folder, is_file=False)]
    return whole + [OutputRecord(folder / name, is_file=True) for name in names]
