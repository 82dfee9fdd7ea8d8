"""What the commands answer to usual mistakes: one line with what happened and what to type."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.conftest import ROOT, vae3d
from vae3d.cli import dispatch

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
    assert using == {"vae3d/files/paths.py", "vae3d/cli/line.py"}


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


@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("train data=ct data.root=mixed name=x", "data.on_error"),
        ("encode run=runs/hu data.root=mixed output=e", "data.on_error"),
        ("reconstruct run=runs/hu input=mixed output=r", "on_error"),
    ],
)
def test_a_constant_image_among_others_can_be_left_out(
    place: Path, command: str, key: str
) -> None:
    shutil.copytree(place / "hu", place / "mixed")
    # c1 is a case to train on.
    flat = nib.Nifti1Image(np.full((16, 16, 16), 25, np.int16), np.eye(4))
    nib.save(flat, place / "mixed/c1.nii.gz")
    words = command.split()
    extra = TINY if words[0] == "train" else ()
    line = line_of(place, *words, *extra)
    assert "c1.nii.gz: all voxels have the one value 25" in line
    assert line.endswith(f"; {key}=skip leaves such scans out")
    # What was written before the flat scan was met stays.
    extra = (*extra, "existing=skip") if words[0] == "reconstruct" else extra
    done = vae3d(*words, *extra, f"{key}=skip", cwd=place)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("info device=cuda", "device=cuda needs a GPU"),
        ("eval run=runs/hu device=cuda", "device=cuda needs a GPU"),
        ("train trainer.device=cuda name=x", "trainer.device=cuda needs a GPU"),
        ("info precision=fp16 device=cpu", "precision=fp16 needs a GPU"),
        ("eval run=runs/hu evaluation.precision=fp16 device=cpu", "evaluation.precision=fp16"),
        ("reconstruct run=runs/hu input=nowhere", "input: no such folder or scan: nowhere ("),
    ],
)
def test_the_key_is_that_of_the_command(place: Path, command: str, said: str) -> None:
    if "cuda" in command and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert f"vae3d: {said}" in line_of(place, *command.split())


@pytest.mark.parametrize(
    ("argv", "way"),
    [
        (["vae3d", "train"], "interrupted; the same command resumes from the last checkpoint"),
        (["vae3d prepare", "data=ct"], "interrupted; the same command resumes with the cases"),
        (["vae3d", "reconstruct"], "interrupted; the same command resumes"),
        (["vae3d eval"], "interrupted; the same command scores all cases again"),
        (["vae3d", "compare"], "interrupted\n"),
        (["vae3d"], "interrupted\n"),
    ],
)
def test_ctrl_c_says_what_the_command_does(
    argv: list[str],
    way: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(arguments: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(dispatch, "dispatch", interrupted)
    monkeypatch.setattr("sys.argv", argv)
    assert dispatch.main() == 130
    assert capsys.readouterr().err.startswith(f"vae3d: {way}")


def test_scans_that_moved_are_looked_for_where_the_run_says(place: Path) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    for command in ("eval", "encode"):
        line = line_of(elsewhere, command, "run=../runs/hu")
        assert f"data.root: no {elsewhere}/hu, which is data.root=hu of the settings" in line
        assert "type data.root=" in line


def test_waste_and_the_next_command_are_named(place: Path) -> None:
    """Each warning once, and a validation curve for a short training."""
    words = ["train", "data=ct", "data.root=hu", "name=w", *TINY, "data.fold=0/4",
             "patching.size=32", "trainer.steps=10", "trainer.batch_size=99"]  # fmt: skip
    done = vae3d(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    said = done.stderr
    assert said.count("patching.size=[32,32,32] is larger than the scans: 8.0 times") == 1
    assert "a size up to [16,16,16] fits" in said
    assert said.count("a step takes 99 patches") == 1
    assert said.endswith("curves: runs/w/progress.png\nnext: vae3d eval run=runs/w\n")
    settings = (place / "runs/w/config.yaml").read_text()
    assert "val_every: 2\n" in settings
    # A run keeps its interval when it is extended.
    done = vae3d(*words, "trainer.steps=20", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "val_every: 2\n" in (place / "runs/w/config.yaml").read_text()
