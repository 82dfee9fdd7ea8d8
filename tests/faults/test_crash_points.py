"""A command that dies before any of its file operations ends, run again, as an undisturbed one."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.exchange.test_to_monai import model_of
from tests.faults.crash_points import Scenario, differing, import_all
from vae3d.exchange.to_monai import to_monai
from vae3d.features.networks import NETWORKS

TRAIN = (
    "train data=ct data.root=scans data.store=null name=r model=tiny trainer.device=cpu "
    "trainer.steps=3 trainer.batch_size=2 trainer.val_every=1 trainer.checkpoint_every=1 "
    "trainer.keep_checkpoints=2 patching.size=[8] patching.per_volume=2 evaluation.media=[png] "
    "evaluation.metrics=[psnr]"
)
PREPARE = "prepare data=ct data.root=scans data.store=store workers=1"
ENCODE = "encode run=runs/r data.store=null output=lat nifti=true device=cpu"
DECODE = "decode run=runs/r input=lat output=back device=cpu"
RECONSTRUCT = "reconstruct run=runs/r device=cpu"
EVAL = (
    "eval run=runs/r device=cpu evaluation.media=[png,gif,mp4] evaluation.media_cases=1 "
    "evaluation.metrics=[psnr] evaluation.regions=[] evaluation.baselines=[] "
    "evaluation.save_reconstructions=true data.store=null"
)


def scan(path: Path, seed: int) -> None:
    """Write a scan of 16^3 voxels in HU."""
    rng = np.random.default_rng(seed)
    voxels = rng.integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


def grown(folder: Path) -> None:
    """Add scans to those of a store, and take one away."""
    scan(folder / "scans/c7.nii.gz", 7)
    scan(folder / "scans/c9.nii.gz", 9)
    (folder / "scans/c1.nii.gz").unlink()


def damaged(folder: Path) -> None:
    """Damage an array of a store."""
    path = min(folder.glob("store/cases/*/*"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def second_run(folder: Path) -> None:
    """Copy the run with its report."""
    shutil.copytree(folder / "runs/r", folder / "runs/other")


def of_monai(folder: Path) -> None:
    """Write the state dict of a network of MONAI."""
    torch.save(to_monai(model_of({})).state, folder / "a.pt")


def of_squeezenet(folder: Path) -> None:
    """Write a state dict of the smallest feature network."""
    shapes = NETWORKS["squeezenet1_1"].shapes
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, folder / "a.pt")


@dataclass(frozen=True)
class Case:
    """A command, what it writes, and what comes before and after it.

    `tried` are the ends of the points that are tried; the others are those of another command.
    """

    command: str
    outputs: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    between: Callable[[Path], None] = lambda folder: None
    tried: tuple[int | None, int | None] = (None, None)


ONE = "c0_back.nii.gz"
BRIEF = f"{EVAL} evaluation.media=[png] evaluation.report=false"
CASES = {
    "prepare": Case(PREPARE, "store"),
    "prepare_part": Case(f"{PREPARE} shard=0/2", "store", after=(f"{PREPARE} shard=1/2", PREPARE)),
    "prepare_joined": Case(
        PREPARE, "store", before=(f"{PREPARE} shard=0/2", f"{PREPARE} shard=1/2")
    ),
    "prepare_extended": Case(PREPARE, "store", before=(PREPARE,), between=grown),
    "prepare_verified": Case(
        f"{PREPARE} verify=true", "store", before=(PREPARE,), between=damaged
    ),
    "inspect": Case("inspect data=ct data.root=scans data.store=null output=look", "look"),
    "train": Case(TRAIN, "runs"),
    "train_stored": Case(
        f"{TRAIN} data.store=auto trainer.steps=1", "runs stores", tried=(None, 90)
    ),
    "train_from": Case(
        f"{TRAIN} name=s init_from=runs/r trainer.steps=1",
        "runs",
        before=(TRAIN,),
        tried=(None, 90),
    ),
    "sweep": Case(f"{TRAIN} -m trainer.steps=1 seed=1,2", "runs multirun", tried=(-40, None)),
    "encode": Case(ENCODE, "lat", before=(TRAIN,)),
    "decode": Case(DECODE, "back", before=(TRAIN, ENCODE)),
    "decode_again": Case(f"{DECODE} existing=replace", "back", before=(TRAIN, ENCODE, DECODE)),
    "reconstruct": Case(f"{RECONSTRUCT} input=scans output=back", "back", before=(TRAIN,)),
    "reconstruct_one": Case(
        f"{RECONSTRUCT} input=scans/c0.nii.gz output={ONE}",
        f"{ONE} .{ONE}.lock .{ONE}.unfinished .{ONE}.finished",
        before=(TRAIN,),
    ),
    "eval_full": Case(f"{EVAL} mode=full", "runs", before=(TRAIN,)),
    "eval_brief": Case(BRIEF, "runs", before=(TRAIN,)),
    "eval_patch": Case(f"{EVAL} mode=patch", "runs", before=(TRAIN,)),
    "eval_output": Case(f"{EVAL} output=elsewhere", "runs elsewhere", before=(TRAIN, EVAL)),
    "import": Case(
        "import kind=monai input=a.pt output=w window=[-1000,400] norm_groups=2",
        "w",
        between=of_monai,
    ),
    "import_features": Case(
        "import kind=features input=a.pt output=w", "w", between=of_squeezenet
    ),
    "compare": Case("compare runs/r runs/other", "runs", before=(TRAIN, EVAL), between=second_run),
}
FAST = {"prepare": 3, "prepare_extended": 1, "train": 1, "encode": 1, "decode": 1}
"""Commands of the fast tier, and the number of their crash points."""


def scenario(name: str, folder: Path) -> Scenario:
    """Return a scenario with its inputs, after the commands that come before."""
    import_all()
    for number in range(6):
        scan(folder / f"work/scans/c{number}.nii.gz", number)
    case = CASES[name]
    return Scenario(folder, case.command, case.outputs, case.before, case.after, case.between)


@pytest.mark.parametrize("name", FAST)
def test_some_crash_points(name: str, tmp_path: Path) -> None:
    crashes = scenario(name, tmp_path)
    expected, last = crashes.counted()
    # The first and the last ones leave the least: they are among three, not a single one.
    middle = random.Random(name).randrange(2, last)
    for point in [middle, 1, last][: FAST[name]]:
        assert crashes.crashed(point)
        crashes.run(crashes.command)
        assert not differing(crashes.ended(), expected), f"crash point {point} of {last}"


@pytest.mark.faults
@pytest.mark.parametrize("name", CASES)
def test_every_crash_point(name: str, tmp_path: Path) -> None:
    crashes = scenario(name, tmp_path)
    expected, last = crashes.counted()
    draw = random.Random(name)
    for point in range(1, last + 1)[slice(*CASES[name].tried)]:
        assert crashes.crashed(point)
        if point % 5 == 0:
            # A second crash, while the command recovers from the first one.
            if crashes.crash(draw.randrange(1, last + 1)):
                crashes.run(crashes.command)
        else:
            crashes.run(crashes.command)
        assert not differing(crashes.ended(), expected), f"crash point {point} of {last}"
    assert last > 5, "a command has that many"
