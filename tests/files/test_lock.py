"""One process at a time holds a lock, and its process id is reported."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vae3d.errors import LockedError
from vae3d.files.lock import locked

TAKE = """
import sys
from pathlib import Path
from vae3d.errors import LockedError
from vae3d.files.lock import locked
try:
    with locked(Path(sys.argv[1])):
        print("taken")
except LockedError as error:
    print(error)
"""


def take(path: Path, script: str = TAKE) -> str:
    """Return the output of another process that tries to take the lock."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_another_process_is_kept_out_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    path.write_text("the note of a process that was killed, which is longer than a new one" * 3)
    with locked(path):
        # Closing the file would end the lock: another process looks at it.
        note = json.loads(take(path, "import sys; print(open(sys.argv[1]).read())"))
        assert note["pid"] == os.getpid()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", note["started"])
        refused = take(path)
        owner = f"process {os.getpid()} since {note['started']}"
        assert refused.startswith(f"{tmp_path}: another process writes here ({owner}); wait")
        take(path, "import sys; open(sys.argv[1], 'w').write('no note')")
        assert "(unknown process id)" in take(path)
    assert take(path) == "taken"
    assert json.loads(path.read_text())["pid"] != os.getpid()


def test_folders_that_share_the_file_by_a_hard_link_keep_each_other_out(tmp_path: Path) -> None:
    """As `cp -al` and backups make; what the file holds is left alone."""
    path, copy = tmp_path / "a.lock", tmp_path / "b.lock"
    path.write_text("mine")
    copy.hardlink_to(path)
    with locked(copy):
        assert "in a folder that was copied with hard links" in take(path)
    assert take(path) == "taken"
    assert path.read_text() == "mine"


def test_an_error_releases_it(tmp_path: Path) -> None:
    with pytest.raises(LockedError, match="mine"), locked(tmp_path / ".lock"):
        raise LockedError("mine")
    assert take(tmp_path / ".lock") == "taken"
