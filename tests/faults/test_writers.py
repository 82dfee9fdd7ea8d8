"""One process writes to a folder at a time, and sweeps what a kill left there, nothing else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import run_distributed, vae3d
from tests.faults.crash_points import leftovers
from tests.faults.test_crash_points import BRIEF, DECODE, ENCODE, PREPARE, RECONSTRUCT, TRAIN, scan
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.errors import LockedError, UserError

HOLD = """
import sys
from pathlib import Path
from vae3d.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

WRITERS = {
    "eval": (f"{BRIEF} mode=full", "runs/r/report/full/.lock"),
    "eval_output": (f"{BRIEF} output=elsewhere", "elsewhere/.lock"),
    "compare": ("compare runs/r runs/other", "runs/r/report/full/compare_other/.lock"),
    "decode": (DECODE, "back/.lock"),
    "reconstruct": (f"{RECONSTRUCT} input=scans output=back", "back/.lock"),
    "reconstruct_one": (
        f"{RECONSTRUCT} input=scans/c0.nii.gz output=c0_back.nii.gz",
        ".c0_back.nii.gz.lock",
    ),
}
SWEPT = {
    PREPARE: "store store/parts store/cases/00 store/cases/9c",
    TRAIN: "runs/r runs/r/checkpoints runs/r/weights runs/r/nonfinite runs/r/report/validation "
    "runs/r/report/validation/cases",
    ENCODE: "lat lat/nifti lat/cases/00",
    DECODE: "back",
    BRIEF: "runs/r/report/full runs/r/report/full/cases runs/r/report/full/reconstructions",
    "compare runs/r runs/other": "runs/r/report/full/compare_other",
}
"""Commands, and the folders that each one sweeps."""
OURS = (".tmp-123-0123abcd-x.png", ".old-1-89abcdef-y")
THEIRS = (
    ".tmp-notes",
    ".tmp-2024-12-notes",
    ".tmp-x-0123abcd-y",
    ".old-photos",
    "tmp-1-01ab-x",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans, two runs, a report and latents."""
    folder = tmp_path_factory.mktemp("made")
    for number in range(6):
        scan(folder / f"scans/c{number}.nii.gz", number)
    for words in (PREPARE, TRAIN, ENCODE, BRIEF):
        done = vae3d(*words.split(), cwd=folder)
        assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs/r", folder / "runs/other")
    return folder


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Let another process hold a lock within the context."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.communicate()


@pytest.mark.parametrize(
    "name",
    [
        *("eval", "compare", "decode", "reconstruct_one"),
        *(pytest.param(name, marks=pytest.mark.faults) for name in ("eval_output", "reconstruct")),
    ],
)
def test_a_second_writer_is_refused(name: str, made: Path) -> None:
    words, lock = WRITERS[name]
    before = {*made.rglob("*")}
    with held(made / lock):
        done = vae3d(*words.split(), cwd=made)
    assert done.returncode == LockedError.exit_code == 7, done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"{(made / lock).parent.relative_to(made)}: another process writes here" in last
    assert "Traceback" not in done.stderr
    new = {*made.rglob("*")} - before - {made / lock, (made / lock).parent}
    assert not new, "nothing is written"


def _refused(rank: int, folder: Path) -> None:
    os.chdir(folder)  # the run names its scans from there
    with pytest.raises(UserError) as caught:
        evaluate(EvalConfig(run=str(folder / "runs/r"), device="cpu"))
    (folder / f"rank{rank}").write_text(f"{caught.value.exit_code} {caught.value}")


@pytest.mark.faults
def test_all_ranks_of_a_second_writer_end(made: Path) -> None:
    with held(made / "runs/r/report/full/.lock"):
        run_distributed(_refused, made)
    said = [(made / f"rank{rank}").read_text() for rank in range(2)]
    assert said[0].startswith(f"7 {made}/runs/r/report/full: another process writes here")
    assert said[1] == "2 ", "its line is that of the main rank"


def test_what_a_kill_left_is_swept_and_nothing_else(made: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for words, places in SWEPT.items():
        for place in map(made.joinpath, places.split()):
            place.mkdir(parents=True, exist_ok=True)
            for name in OURS:
                (place / name).write_text("half")
            if words == DECODE:  # elsewhere a link is refused
                (place / OURS[0].replace("x", "linked")).symlink_to(elsewhere)
            for name in THEIRS:
                (place / name).write_text("mine")
        (elsewhere / OURS[0]).write_text("elsewhere")
        done = vae3d(*words.split(), cwd=made)
        assert done.returncode == 0, done.stderr
        for place in map(made.joinpath, places.split()):
            assert {*THEIRS} <= {path.name for path in place.iterdir()}
        assert [*elsewhere.iterdir()] == [elsewhere / OURS[0]]
        assert (elsewhere / OURS[0]).read_text() == "elsewhere"
    theirs = (name for name in leftovers(made) if not name.endswith(THEIRS))
    assert not [*theirs]


def test_a_store_whose_settings_were_being_written(tmp_path: Path) -> None:
    scan(tmp_path / "scans/c0.nii.gz", 0)
    (tmp_path / "store/parts").mkdir(parents=True)
    (tmp_path / "store/parts/00000-of-00001.lock").touch()
    for name in ("1-0a-store.json", "12-0123abcd-store.json", "1-0a-catalog.sqlite"):
        (tmp_path / f"store/.tmp-{name}").write_text("{")
    done = vae3d(*PREPARE.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not leftovers(tmp_path)
    assert json.loads((tmp_path / "store/store.json").read_text())
    assert {p.name for p in (tmp_path / "store/parts").iterdir()} == {"00000-of-00001.lock"}
