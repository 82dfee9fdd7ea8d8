"""The run folders of a sweep's jobs, whichever process or machine runs them."""

import contextlib
import os
import shutil
import socket
import uuid
from pathlib import Path

from vae3d.files.reading import read_text

MAX_PATH_BYTES = 2**16
"""Longest path of a job's folder."""


class JobFolders:
    """Run folders of jobs, in the process that started the sweep.

    A launcher may run a job elsewhere, with a copy of this object: it then leaves a file in the
    folder `place`, which all share as they share the working folder.
    """

    def __init__(self) -> None:
        self.home = socket.gethostname(), os.getpid()
        self.place = Path.cwd() / f".sweep-{uuid.uuid4().hex[:12]}"
        self.here: list[Path] = []

    def add(self, folder: Path) -> None:
        """Record the run folder of a job."""
        if (socket.gethostname(), os.getpid()) == self.home:
            self.here.append(folder)
            return
        self.place.mkdir(exist_ok=True)
        # Renamed as a whole, so that no half of a path is read.
        written = self.place / f".{uuid.uuid4().hex}"
        written.write_text(str(folder.absolute()), encoding="utf-8", errors="surrogateescape")
        written.rename(self.place / written.name.removeprefix("."))

    def collect(self) -> list[Path]:
        """Return the folders of all jobs that ended, and remove what they left for it."""
        found = [*self.here]
        with contextlib.suppress(FileNotFoundError):
            files = sorted(path for path in self.place.iterdir() if path.name[0] != ".")
            found += [
                Path(read_text(file, MAX_PATH_BYTES, errors="surrogateescape")) for file in files
            ]
            shutil.rmtree(self.place, ignore_errors=True)
        return found
