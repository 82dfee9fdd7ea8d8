"""`Cost`: the measured memory and time of a training step and of a reconstruction."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.logger.console import table
from vae3d.model.config import VAEConfig
from vae3d.runtime.kernels import fast_kernels
from vae3d.runtime.memory import free_memory, peak_memory
from vae3d.runtime.precision import Precision
from vae3d.trainer.optimizer import build_optimizer

log = logging.getLogger(__name__)

MEBIBYTE = 2**20
USABLE_SHARE = 0.9
"""Share of the free memory that is planned with."""


@dataclass(frozen=True)
class Cost:
    """The cost of one call for a batch of one: `fixed` and `per_voxel` bytes, and seconds."""

    name: str
    fixed: float
    per_voxel: float
    seconds: float

    def at(self, voxels: int) -> float:
        """Return the bytes of a call with this number of voxels."""
        return self.fixed + self.per_voxel * voxels

    def max_voxels(self, memory: float) -> int:
        """Return the number of voxels that fit into `memory` bytes."""
        return max(0, int((memory - self.fixed) / self.per_voxel))


def training_cost(
    model: CustomVAE, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> Cost | None:
    """Return the cost of an AdamW step on the absolute error; None if it cannot be measured."""
    optimizer = build_optimizer("adamw", model, 1e-4, 0.0)
    generator = torch.Generator().manual_seed(0)

    def step(images: Tensor) -> None:
        with precision.autocast(device):
            output = model(images, generator)
        precision.backward((output.reconstruction - images).abs().mean())
        precision.step(optimizer, torch.tensor(True, device=device))
        optimizer.zero_grad(set_to_none=True)

    return _cost("training", model.train(), step, device, size)


def inference_cost(
    model: CustomVAE, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> Cost | None:
    """Return the cost of reconstructing the image in one pass; None if it cannot be measured."""

    def reconstruct(images: Tensor) -> None:
        with torch.no_grad(), precision.autocast(device):
            model(images)

    return _cost("reconstruction", model.eval(), reconstruct, device, size)


def _cost(
    name: str,
    model: CustomVAE,
    call: Callable[[Tensor], None],
    device: torch.device,
    size: tuple[int, ...],
) -> Cost | None:
    """Return the cost of `call`: batches of 1 and 3 separate fixed bytes from those per image."""
    peaks, seconds = [], math.inf
    for batch in (1, 3):
        images = torch.zeros(batch, model.config.in_channels, *size, device=device)
        with fast_kernels(device):
            # The first call allocates what later ones reuse: optimizer state, algorithm choices.
            call(images)
            start = time.perf_counter()
            peak = peak_memory(lambda images=images: call(images), device)  # type: ignore[misc]
        if batch == 1:
            seconds = time.perf_counter() - start
        if peak is None:
            return None
        peaks.append(peak + images.nbytes)
    grows = max(peaks[1] - peaks[0], 1) / 2
    per_voxel = grows / math.prod(size)
    return Cost(name, max(0.0, peaks[0] - grows), per_voxel, seconds)


def print_costs(
    model: VAEConfig, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> None:
    """Measure and print memory and time of a training step and of a reconstruction.

    And the largest batch of images of this size, and the largest image, that fit in free memory.
    """
    free = free_memory(device) * USABLE_SHARE
    log.info(f"{device.type}, {precision.name}, {free / 2**30:.1f} GiB to plan with")
    voxels, sides = math.prod(size), " x ".join(map(str, size))
    rows = []
    for measure_cost in (training_cost, inference_cost):
        cost = measure_cost(CustomVAE(model).to_device(device), precision, device, size)
        if cost is None:
            log.info("memory cannot be measured on this system")
            return
        max_voxels = cost.max_voxels(free)
        side = int(max_voxels ** (1 / model.dims))
        rows.append(
            [
                cost.name,
                f"{cost.at(voxels) / MEBIBYTE:,.0f} MiB",
                f"{voxels / cost.seconds / 1e6:.2f}",
                str(max_voxels // voxels),
                " x ".join([str(side)] * model.dims),
            ]
        )
    columns = ["", "memory", "Mvoxel/s", f"largest batch of {sides}", "largest image"]
    table("measured, batch 1", columns, rows)
