"""Trainings on a device: precisions, skipped steps, resuming, moving, and two ranks on one GPU."""

import csv
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import ROOT, tiny_model, tiny_trainer, tiny_training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.info import InfoConfig
from vae3d.commands.info_run import info
from vae3d.commands.train_run import train
from vae3d.errors import ResourceError
from vae3d.loss.config import LossConfig
from vae3d.run.config import TrainConfig
from vae3d.system.limits import limits_as_errors
from vae3d.trainer.optimizer import build_optimizer
from vae3d.trainer.trainer import Trainer

RANKS = ROOT / "scripts" / "gpu" / "ranks.py"


def training(folder: Path, device: torch.device | str, steps: int = 20, **changes: Any) -> Any:
    """Twenty steps on phantoms, validated at the end."""
    model = changes.pop("model", {})
    loss = changes.pop("loss", LossConfig())
    # A constant rate: a training of fewer steps is then the beginning of a longer one.
    rate = {"lr": 5e-3, "warmup_steps": 0, "min_lr_ratio": 1.0}
    settings = {"val_every": 10, "checkpoint_every": 10, **rate, **changes}
    trainer = tiny_trainer(steps=steps, device=str(torch.device(device).type), **settings)
    return tiny_training(folder, trainer=trainer, model=tiny_model(3, **model), loss=loss)


def losses(config: TrainConfig, name: str = "loss", split: str = "train") -> list[float]:
    """The loss of each step, or another column."""
    with (config.folder / "metrics.csv").open(newline="") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row["split"] == split]


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    """The last weights, loaded on the CPU."""
    model = CustomVAE.from_pretrained(config.folder / "weights" / "latest")
    assert model.device.type == "cpu"
    return model.state_dict()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_training_improves(accelerator: torch.device, precision: str, tmp_path: Path) -> None:
    if precision == "fp16" and accelerator.type == "cpu":
        pytest.skip("float16 needs a GPU")
    config = training(tmp_path, accelerator, 60, precision=precision, lr=1e-2, val_every=20)
    train(config)
    assert len(losses(config)) == 60
    first, *_, last = losses(config, "psnr", "val")
    assert last > first + 1
    assert all(value.isfinite().all() for value in weights(config).values())


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_step_that_is_not_finite_changes_nothing(accelerator: torch.device, name: str) -> None:
    model = nn.Conv3d(3, 8, 3).to(accelerator, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    optimizer = build_optimizer(name, model, 0.1, 0.01)

    def step(gradient: float) -> None:
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, gradient)
        bad = float(gradient != gradient)
        optimizer.found_inf = torch.full((), bad, device=accelerator)  # type: ignore[attr-defined]
        optimizer.step()

    def state() -> list[torch.Tensor]:
        held = [v for values in optimizer.state.values() for v in values.values()]
        return [v.clone() for v in (*model.parameters(), *held)]

    torch.full((2**16,), 7e9, device=accelerator)  # memory that is free, and not zero
    for gradient in (torch.nan, 1.0, torch.nan, 2.0):
        before = state()
        step(gradient)
        if gradient != gradient and before[2:]:
            assert all(map(torch.equal, before, state()))
    assert all(value.abs().max() < 100 for value in state())


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_training_resumes(accelerator: torch.device, name: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = training(tmp_path / "whole", accelerator, optimizer=name, ema_decay=0.9)
    train(whole)
    for steps in (10, 20):
        config = training(tmp_path, accelerator, steps, optimizer=name, ema_decay=0.9)
        train(config)
    assert CheckpointFolder(config.folder / "checkpoints").steps()[-1] == 20
    assert losses(config) == pytest.approx(losses(whole), rel=1e-2)


def test_a_training_moves_between_devices(accelerator: torch.device, tmp_path: Path) -> None:
    """With norms over groups, whose weights have another memory format on a CPU."""
    ways = {"stayed": ["cpu"] * 3, "moved": ["cpu", accelerator.type, "cpu"]}
    curves = []
    for name, devices in ways.items():
        (tmp_path / name).mkdir()
        for number, device in enumerate(devices, start=1):
            config = training(
                tmp_path / name, device, 4 * number, model={"norm": "group", "norm_groups": 4},
                checkpoint_every=4, val_every=4,
            )  # fmt: skip
            train(config)
        curves.append(losses(config))
    assert curves[0] == pytest.approx(curves[1], rel=1e-2)


def test_two_ranks_on_one_device_are_one(accelerator: torch.device, tmp_path: Path) -> None:
    """By gloo, which copies through the CPU: nccl takes one rank for each GPU."""
    alone = training(tmp_path, accelerator, 6, batch_size=4, val_every=6, checkpoint_every=6)
    train(alone)
    settings = [
        "name=ranks", f"runs_dir={tmp_path}", "data.shape=[16,16,16]", "data.count=6",
        "patching.size=[8]", "patching.per_volume=4", "evaluation.media=[]",
        "model.levels=[{channels: 4},{channels: 8, stride: [2]}]", "model.patch=[1]",
        "trainer.steps=6", "trainer.batch_size=2", "trainer.warmup_steps=0", "trainer.log_every=1",
        "trainer.precision=fp32", "trainer.lr=5e-3", "trainer.min_lr_ratio=1",
        "trainer.val_every=6",
        f"trainer.device={accelerator.type}",
    ]  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(RANKS), "train", *settings],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shared = training(tmp_path, accelerator)
    shared.name = "ranks"
    assert losses(shared) == pytest.approx(losses(alone), rel=1e-3)


def test_a_step_does_not_wait_for_the_device(
    gpu: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Trainer.train_step

    def watched(self: Trainer, batches: Any) -> Any:
        # The first steps allocate memory and choose kernels.
        torch.cuda.set_sync_debug_mode("error" if self.state.step > 3 else "default")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return own(self, batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "train_step", watched)
    terms = {"l1": 1.0, "ssim": 0.1, "eagle": 0.01, "focal_frequency": 0.1}
    train(training(tmp_path, gpu, 8, loss=LossConfig(terms=terms)))


@pytest.mark.parametrize("mode", ["full", "patch"])
def test_cases_are_scored(accelerator: torch.device, mode: str, tmp_path: Path) -> None:
    config = training(tmp_path, accelerator, 4)
    train(config)
    scores = []
    for device in ("cpu", accelerator.type):
        asked = EvalConfig(run=str(config.folder), mode=mode, split="all", device=device)
        asked.output = str(tmp_path / device / mode)
        asked.evaluation.media, asked.evaluation.precision = [], "fp32"
        result = evaluate(asked)
        scores.append([case.scores["psnr"] for case in result.cases])
    assert len(scores[0]) == 6
    assert scores[0] == pytest.approx(scores[1], rel=1e-2)


def test_too_little_memory_is_one_line(gpu: torch.device) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(ResourceError, match="the GPU is out of memory"), limits_as_errors():
            info(InfoConfig(size=(256,), device="cuda", memory=None))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
