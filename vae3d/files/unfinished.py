"""`Unfinished`: the mark of a command that did not end, by which the same command resumes."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.files.atomic import write_text
from vae3d.files.reading import read_bytes

SUFFIX = ".unfinished"


@dataclass(frozen=True)
class Unfinished:
    """A file that exists while a command writes, and after it was killed.

    `digest` is of the settings of the command and of the files that it reads.
    """

    path: Path
    digest: str

    @classmethod
    def of(cls, place: Path, is_file: bool, digest: str) -> "Unfinished":
        """Return the mark in an output folder, or next to an output file."""
        return cls(
            place.with_name(f".{place.name}{SUFFIX}") if is_file else place / SUFFIX, digest
        )

    @property
    def was_killed(self) -> bool:
        """Whether the same command began here, with the same inputs, and did not end."""
        try:
            return read_bytes(self.path, limit=100, linked=False) == self.digest.encode()
        except OSError:
            return False

    def begin(self) -> None:
        """Set the mark."""
        write_text(self.path, self.digest)

    def end(self) -> None:
        """Remove the mark."""
        self.path.unlink(missing_ok=True)


def digest_of(settings: Any, *inputs: Path | str | None) -> str:
    """Return the SHA-256 of settings, and of place, size and times of files.

    Of a folder these are the files directly in it and in its `cases`.
    """
    paths = [file for path in inputs if path is not None for file in _files(Path(path))]
    known = []
    for path in sorted({*paths}):
        status = path.stat()
        facts = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        known.append([str(path.absolute()), *facts])
    values = {**dataclasses.asdict(settings), "existing": None}
    text = json.dumps([values, known], default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _files(path: Path) -> Iterable[Path]:
    files = [*path.iterdir(), *path.glob("cases/??/*")] if path.is_dir() else [path]
    return (file for file in files if file.is_file() and file.name[0] != ".")
