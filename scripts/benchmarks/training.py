"""`training_step`: one step of vae3d's own `Trainer` on a batch that stays."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.cli.compose import composed
from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import PatchDataset
from vae3d.logger.base import Logger
from vae3d.loss.objective import Objective
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.distributed import Distributed
from vae3d.trainer.config import TrainerConfig
from vae3d.trainer.trainer import Callbacks, Trainer


@dataclass(frozen=True)
class Job:
    """A model by its name, and a step of `batch` patches of `side`^3 on all ranks together.

    `settings` are of `trainer`; those that the measured vae3d does not have are left out. With
    `halo` the patches are decoded from stored latents with a halo of that many latent voxels.
    """

    model: str
    batch: int
    side: int
    settings: dict[str, Any]
    halo: int | None = None


def knows(setting: str) -> bool:
    """Return whether the measured vae3d has a setting of `trainer`."""
    return setting in {field.name for field in fields(TrainerConfig)}


def training_step(job: Job, distributed: Distributed | None = None) -> Callable[[], object]:
    """Return a step of training, with everything but reading and logging."""
    distributed = distributed or Distributed()
    data = SyntheticConfig(shape=(job.side,) * 3, count=8, val_fraction=0, test_fraction=0)
    cases = LoadedCases(PhantomSource(data), data)
    sampler = RandomPatches(size=(job.side,) * 3, per_volume=8, foreground=0.0)
    dataset = PatchDataset(cases, cases.survey("train"), sampler, seed=0)
    settings = {name: value for name, value in job.settings.items() if knows(name)}
    config = TrainerConfig(batch_size=job.batch // distributed.world, steps=10**6, **settings)
    if hasattr(config, "divided"):  # not in earlier versions, which --against measures
        cores = torch.get_num_threads()
        config = config.divided(distributed.device.type, cores, in_parts=True)
    torch.manual_seed(0)
    train: Any = composed("train", f"model={job.model}")
    model = CustomVAE(train.model)
    if knows("train"):  # not in earlier versions
        from vae3d.model.frozen import freeze

        freeze(model, config.train)
    trainer = Trainer(
        model=model,
        objective=Objective(train.loss, model.factor),
        loader=PatchLoader(dataset, config.batch_size, 1, distributed, workers=0),
        config=config,
        distributed=distributed,
        checkpoints=CheckpointFolder(Path(tempfile.gettempdir(), "no-checkpoints")),
        logger=Logger(),
        callbacks=Callbacks(
            validate=lambda step, interrupted: {},
            save_weights=lambda which, step, state: None,
            report_bad_step=lambda step, names: None,
            about={},
        ),
        seed=0,
    )
    micro_batches = [*next(trainer.loader.steps(0, 1))]
    if job.halo is not None:
        micro_batches = [[_stored(b, model, job.halo) for b in part] for part in micro_batches]
    return lambda: trainer.train_step(micro_batches)


def _stored(batch: Any, model: CustomVAE, halo: int) -> Any:
    """Return a batch with random latents, which are not read from a folder."""
    from vae3d.loading.latents import LatentBatch

    size = [n + 2 * halo for n in model.latent_size(batch.images.shape[2:])]
    mean, logvar = torch.randn(2, len(batch.images), model.config.latent_channels, *size)
    latents = LatentBatch(mean, logvar, [(halo,) * len(size)] * len(batch.images))
    return replace(batch, latents=latents)
