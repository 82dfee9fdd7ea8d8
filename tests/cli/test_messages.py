"""What the commands answer to usual mistakes: one line with what happened and what to type."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT, vae3d

TINY = ("model=tiny", "trainer.steps=2", "trainer.batch_size=2", "patching.size=[8,8,8]",
        "patching.per_volume=2", "evaluation.media=[]")  # fmt: skip


def write_scans(folder: Path, count: int) -> None:
    """Write CT scans c0, c1, ... of 16^3 noise."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        voxels = np.random.default_rng(number).normal(0, 300, (16, 16, 16)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), folder / f"c{number}.nii.gz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with scans in `hu` and a run of them in `runs/hu`, for reading only."""
    folder = tmp_path_factory.mktemp("trained")
    write_scans(folder / "hu", 8)
    done = vae3d("train", "data=ct", "data.root=hu", "name=hu", *TINY, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def line_of(folder: Path, *arguments: str) -> str:
    """Run a command that must be refused; return its error line."""
    done = vae3d(*arguments, cwd=folder)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 2, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vae3d: "), done.stderr
    return last


@pytest.mark.parametrize(
    "command",
    [
        "inspect data=ct data.root={}",
        "train data=ct data.list={}",
        "eval run={}",
        "reconstruct run=runs/hu input=hu output={}",
    ],
)
def test_homes_that_are_unknown_are_named(place: Path, command: str) -> None:
    line = line_of(place, *command.format("~nobody9/x").split())
    assert "the home folder of ~nobody9 is unknown on this machine" in line
    assert "./~nobody9/x" in line


def test_every_path_of_a_user_is_expanded_by_one_function() -> None:
    """`Path.expanduser` raises a RuntimeError where the home folder is unknown."""
    using = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "vae3d").rglob("*.py")
        if ".expanduser()" in path.read_text()
    }
    assert using == {"vae3d/runtime/paths.py", "vae3d/cli/line.py"}


def test_a_home_that_is_unknown_in_a_list_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path\n~nobody9/x.nii\n")
    line = line_of(tmp_path, "inspect", "data=ct", "data.list=a.csv")
    assert "a.csv, line 2, column 'path': ~nobody9/x.nii: the home folder" in line


@pytest.mark.parametrize("wrong", ["hu/c0.nii.gz/x", "y" * 300], ids=["no folder", "too long"])
@pytest.mark.parametrize(
    "command",
    [
        "inspect data=ct data.root={}",
        "train data=ct data.root=hu name=x runs_dir={}",
        "reconstruct run=runs/hu input=hu output={}",
        "compare {} runs/hu",
    ],
)
def test_paths_that_cannot_exist_are_named(place: Path, command: str, wrong: str) -> None:
    assert wrong in line_of(place, *command.format(wrong).split())
