"""What many tests need: small configs, phantoms, processes that form a group."""

import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from tests.command_server import COMMANDS
from vae3d.data.config import SyntheticConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import RandomPatchesConfig
from vae3d.run.config import TrainConfig
from vae3d.runtime.messages import ROOT as ROOT_LOGGER
from vae3d.runtime.messages import show_messages
from vae3d.trainer.config import TrainerConfig

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)
# As the command line does; propagated too, so that `caplog` sees what is logged.
show_messages()
ROOT_LOGGER.propagate = True


def tiny_model(spatial_dims: int = 3, **changes: object) -> VAEConfig:
    """Two levels, a factor of two."""
    levels = [LevelSpec(4), LevelSpec(8, stride=(2,))]
    values = {"spatial_dims": spatial_dims, "levels": levels, "patch": (1,), **changes}
    return VAEConfig(**values)  # type: ignore[arg-type]


def tiny_training(folder: Path, **changes: object) -> TrainConfig:
    """Ten steps on phantoms of 16^3, float32."""
    values: dict[str, object] = {
        "name": "run",
        "runs_dir": str(folder),
        "data": SyntheticConfig(shape=(16, 16, 16), count=6),
        "patching": RandomPatchesConfig(size=(8,), per_volume=4),
        "model": tiny_model(spatial_dims=3),
        "trainer": tiny_trainer(),
        "evaluation": EvaluationConfig(media=[]),
        **changes,
    }
    return TrainConfig(**values)  # type: ignore[arg-type]


def copied(run: Path, folder: Path) -> Path:
    """A run and the scans beside it, copied to `folder`, as if they had always been there."""
    shutil.copytree(run, folder / run.name)
    settings = folder / run.name / "config.yaml"
    settings.write_text(settings.read_text().replace(str(run.parent), str(folder)))
    return folder / run.name


def tiny_trainer(**changes: object) -> TrainerConfig:
    """Ten steps of two patches."""
    values: dict[str, object] = {
        "steps": 10,
        "batch_size": 2,
        "warmup_steps": 2,
        "log_every": 1,
        "val_every": 5,
        "checkpoint_every": 2,
        "keep_checkpoints": 9,
        "precision": "fp32",
        "device": "cpu",
        **changes,
    }
    return TrainerConfig(**values)  # type: ignore[arg-type]


def rounding(model: nn.Module) -> float:
    """The share of its magnitude by which float32 output may differ when its sums are reordered.

    An output value of a convolution is a sum of n products, n = channels * voxels of the kernel.
    Another CPU, number of threads, batch or cut of the volume adds them in another order. Errors
    of random sign change such a sum by about sqrt(n) * eps of its magnitude, and the layers behind
    pass that on. n * eps, with n of the largest layer, leaves a factor of sqrt(n) > 10 for them.
    It is 3e-5 for `tiny_model` and 8e-4 for 256 channels, where a plane of voxels that the kernel
    misses is a third of its products, and changes the sum by half its magnitude.
    """
    terms = [max(p.shape[:2]) * p[0, 0].numel() for p in model.parameters() if p.dim() > 1]
    return max(terms) * torch.finfo(torch.float32).eps


def assert_same_output(found: Tensor, expected: Tensor, model: nn.Module) -> None:
    """Equal within `rounding` of the largest value, or of one."""
    atol = rounding(model) * max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def run_distributed(
    function: Callable[[int, Path], None], folder: Path, world_size: int = 2
) -> None:
    """Calls `function(rank, folder)` in `world_size` forked processes that form a gloo group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (function, folder, world_size, port)
    with warnings.catch_warnings():
        # Python warns of locks that other threads hold; there are none.
        warnings.simplefilter("ignore", DeprecationWarning)
        mp.start_processes(_member, arguments, world_size, start_method="fork")  # type: ignore[no-untyped-call]


def _member(
    rank: int, function: Callable[[int, Path], None], folder: Path, world: int, port: int
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    function(rank, folder)


def vae3d(
    *arguments: str, cwd: Path, fresh: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own.

    The process is forked from one that has imported torch, which saves seconds. With `fresh`, or
    with a PYTHONPATH of its own, it is a new `python -m vae3d` as users start it.
    """
    names = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    if not fresh and "PYTHONPATH" not in environment:
        return COMMANDS.run([*arguments], cwd, names, timeout=300)
    return subprocess.run(
        [sys.executable, "-m", "vae3d", *arguments],
        cwd=cwd,
        env=names,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests come first, so that no core waits for one of them at the end."""
    items.sort(key=lambda item: item.path.name != "test_kills.py")


def pytest_unconfigure() -> None:
    """Ends the process that commands are forked from."""
    COMMANDS.close()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test writes below the working folder lands in its own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def scans() -> Path:
    """The real scans, where this machine has them."""
    folder = Path(os.environ.get("VAE3D_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "ct").is_dir():
        pytest.skip("no real scans here; VAE3D_TEST_DATA names their folder")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape names that are no text: they would end a worker of xdist, which sends UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report
