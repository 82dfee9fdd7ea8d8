"""Weights to start from, and trainings that do."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.conftest import tiny_model, tiny_trainer, tiny_training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import Training
from vae3d.loading.patches import Batch
from vae3d.model.config import VAEConfig
from vae3d.run.beginning import Extras
from vae3d.run.config import TrainConfig
from vae3d.run.saved import load_config
from vae3d.runtime.distributed import start_distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.seeding import seed_global
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.values.latent_statistics import LatentStatistics

EMA = tiny_trainer(steps=2, ema_decay=0.9)


def saved_weights(folder: Path) -> Path:
    """Write such weights."""
    torch.manual_seed(5)
    model = CustomVAE(tiny_model(latent_channels=3))
    model.contract = InputContract(IntensityContract("percentiles", 0, 99.5, "a.u."), (1, 1, 1))
    model.statistics = LatentStatistics(1.0, 0.0, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], 3)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    model.save_pretrained(folder / "weights")
    return folder / "weights"


def training(folder: Path, weights: Path | str | None, **changes: Any) -> TrainConfig:
    """A training whose settings name no architecture, as if none was typed."""
    values: dict[str, Any] = {"model": VAEConfig(), "trainer": tiny_trainer(steps=2), **changes}
    return tiny_training(folder, init_from=weights and str(weights), **values)


def by_hand(model: VAEConfig, *keys: str) -> VAEConfig:
    model.typed = frozenset(keys)
    return model


def rows_of(run: Path, split: str = "train") -> list[dict[str, str]]:
    with RunFolder(run).metrics.open() as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def weights_at(run: Path, step: int) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = (
        CheckpointFolder(run / "checkpoints").load(step).state["model"]
    )
    return state


@contextlib.contextmanager
def first_batch(run: Path) -> Iterator[tuple[Batch, torch.device]]:
    """The batch of step 0, with the kernels and the seed of a training."""
    config = load_config(run / "config.yaml")
    with start_distributed("cpu") as distributed:
        training = Training(config, None, distributed, Extras())
        model = CustomVAE(training.config.model)
        loader = training._session(training.cases.survey("train"), model).loader
        [micro_batches] = loader.steps(0, 1)
        [batch] = [batch for micro_batch in micro_batches for batch in micro_batch]
        seed_global(config.seed, "step", 0, 0)
        yield batch, distributed.device
