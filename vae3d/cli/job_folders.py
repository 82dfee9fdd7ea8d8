"""The run folders of a sweep's jobs, whichever process or machine runs them."""

import contextlib
import os
import re
import socket
import uuid
from pathlib import Path

from vae3d.files.reading import read_text

MAX_PATH_BYTES = 2**16
"""Longest path of a job's folder."""
_PLACE = re.compile(r"\.sweep-(.+)-([1-9]\d{0,8})-[0-9a-f]{12}")
_FILE = re.compile(r"\.?[0-9a-f]{32}")


class JobFolders:
    """Run folders of jobs, in the process that started the sweep.

    A launcher may run a job elsewhere, with a copy of this object: it then leaves a file in the
    folder `place`, which all share as they share the working folder. Its name says which process
    collects it: the next sweep removes what a killed one left.
    """

    def __init__(self) -> None:
        self.home = socket.gethostname(), os.getpid()
        owner = "-".join(map(str, self.home))
        self.place = Path.cwd() / f".sweep-{owner}-{uuid.uuid4().hex[:12]}"
        self.here: list[Path] = []

    def add(self, folder: Path) -> None:
        """Record the run folder of a job."""
        if (socket.gethostname(), os.getpid()) == self.home:
            self.here.append(folder)
            return
        # Where the sweep was killed, the next one may remove the folder at any moment.
        with contextlib.suppress(FileNotFoundError):
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
            _remove(self.place)
        return found


def sweep_killed(folder: Path) -> None:
    """Remove what sweeps of this machine left in a working folder whose processes are gone.

    Those of another machine stay: whether they run there is not known here.
    """
    for place in folder.glob(".sweep-*"):
        match = _PLACE.fullmatch(place.name)
        own = match and match[1] == socket.gethostname() and not place.is_symlink()
        if match and own and place.is_dir() and not _is_alive(int(match[2])):
            _remove(place)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _remove(place: Path) -> None:
    """Remove the files that jobs left, and the folder if nothing else is in it."""
    with contextlib.suppress(OSError):
        for path in place.iterdir():
            if _FILE.fullmatch(path.name):
                path.unlink(missing_ok=True)
        place.rmdir()
