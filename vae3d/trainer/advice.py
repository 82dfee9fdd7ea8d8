"""What makes a training slow without a word: each is reported once, before the first step."""

import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from vae3d.loading.loader import PatchLoader
from vae3d.model.frozen import trained_parameters
from vae3d.runtime.messages import counted
from vae3d.system.cores import usable_cores
from vae3d.trainer.config import TrainerConfig

log = logging.getLogger(__name__)

PADDED = 2.0
"""Computed voxels for each voxel of a scan from which on padding is reported."""
MAX_WORKERS = 8
"""Loader processes that are recommended for a GPU, at most."""


def report_waste(
    config: TrainerConfig,
    loader: PatchLoader,
    size: Sequence[int] | None,
    shapes: Sequence[Sequence[int]],
) -> None:
    """Warn of patches larger than the scans, of steps larger than an epoch, and of idle workers.

    `size` is that of a patch, None for whole volumes; `shapes` are those of some training cases.
    Idle cores are reported, not warned of: the user may want them for other things.
    """
    for warning in (*_padding(size, shapes), *_batches(loader), *_workers(loader)):
        log.warning(warning)
    for line in _cores(config.portions or 1, config.threads_per_portion):
        log.info(line)


def report_frozen(model: nn.Module) -> None:
    """Log how many of a model's parameters are trained, unless all are."""
    trained = sum(parameter.numel() for parameter in trained_parameters(model))
    total = sum(parameter.numel() for parameter in model.parameters())
    if trained < total:
        log.info(f"trains {trained:,} of {total:,} parameters, the others are frozen")


def _padding(size: Sequence[int] | None, shapes: Sequence[Sequence[int]]) -> Iterator[str]:
    if size is None or not shapes:
        return
    inside = [math.prod(map(min, size, shape)) for shape in shapes]
    factor = math.prod(size) * len(inside) / sum(inside)
    if factor >= PADDED:
        fitting = [max(shape[axis] for shape in shapes) for axis in range(len(size))]
        yield (
            f"patching.size={_listed(size)} is larger than the scans: {factor:.1f} times as many "
            f"voxels are computed as they have; a size up to {_listed(fitting)} fits"
        )


def _batches(loader: PatchLoader) -> Iterator[str]:
    plan = loader.plan
    if plan.patches_per_step > plan.num_patches:
        yield (
            f"a step takes {plan.patches_per_step:,} patches "
            f"(batch size x accumulation x ranks), but an epoch has {plan.num_patches:,}: each "
            "step is a whole epoch; lower trainer.batch_size or raise patching.per_volume"
        )


def _workers(loader: PatchLoader) -> Iterator[str]:
    cores, workers = usable_cores(), loader.workers
    # torch says the same in more words.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    if workers > cores:
        yield (
            f"data.workers={workers} are more than the {counted(cores, 'core')} of this process: "
            f"they wait for each other; type data.workers={cores}"
        )
    if cores > 1 and not workers and loader.pin_memory:
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield (
            "data.workers=0: the GPU may wait while patches are read; type "
            f"data.workers={max(1, min(MAX_WORKERS, cores // ranks))}"
        )


def _cores(portions: int, threads: int | None) -> Iterator[str]:
    cores = torch.get_num_threads()
    used = portions * (threads or cores)
    if used < cores:
        yield (
            f"computes on {used} of {counted(cores, 'core')}; in a new run a larger "
            f"trainer.batch_size or trainer.threads_per_portion={-(-cores // portions)} uses all"
        )


def _listed(numbers: Sequence[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"
