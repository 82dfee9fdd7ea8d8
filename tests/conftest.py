"""What many tests need: small configs, phantoms, processes that form a group."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from vae3d.commands.train import TrainConfig
from vae3d.data.config import SyntheticConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import RandomPatchesConfig
from vae3d.trainer.config import TrainerConfig

ROOT = Path(__file__).parent.parent
torch.set_num_threads(1)


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


def run_distributed(
    function: Callable[[int, Path], None], folder: Path, world_size: int = 2
) -> None:
    """Calls `function(rank, folder)` in `world_size` processes that form a gloo group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(_member, args=(function, folder, world_size, port), nprocs=world_size)  # type: ignore[no-untyped-call]


def _member(
    rank: int, function: Callable[[int, Path], None], folder: Path, world: int, port: int
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    function(rank, folder)


def vae3d(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vae3d", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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
