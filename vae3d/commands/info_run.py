"""`vae3d info`: what a model is, and what it takes on this machine."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from vae3d.autoencoder.summary import Summary, summarise
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.info import InfoConfig
from vae3d.commands.saved import load_config
from vae3d.errors import ConfigError
from vae3d.logger.console import table
from vae3d.model.config import VAEConfig
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import free_memory, peak_memory, planned_memory
from vae3d.runtime.precision import Precision
from vae3d.runtime.run_folder import RunFolder
from vae3d.streaming.plan import StreamingPlan, streamed_plans
from vae3d.trainer.optimizer import build_optimizer

log = logging.getLogger(__name__)

MEGABYTE = 2**20
RESERVE = 0.9
"""Of the free memory, what may be planned with."""


@dataclass(frozen=True)
class Cost:
    """What one call takes for a batch of one: `fixed` bytes and `per_voxel` bytes, and seconds."""

    name: str
    fixed: float
    per_voxel: float
    seconds: float

    def at(self, voxels: int) -> float:
        """Bytes for so many voxels at once."""
        return self.fixed + self.per_voxel * voxels

    def fitting(self, memory: float) -> int:
        """Voxels that fit into so many bytes."""
        return max(0, int((memory - self.fixed) / self.per_voxel))


def info(config: InfoConfig) -> Summary:
    """Prints layers, figures, and measured memory and time.

    Raises:
        UserError: there is no such run, or the size does not fit.
    """
    model = chosen_model(config)
    if len(config.size) not in (1, model.dims):
        raise ConfigError(f"size must be 1 or {model.dims} numbers, got {[*config.size]}")
    size = tuple(config.size) * (model.dims if len(config.size) == 1 else 1)
    device = choose_device(config.device)
    # Known to be right before anything is shown.
    precision = Precision(config.precision, device)
    lines = ways(model, size, planned_memory(config.memory, device))
    found = summarise(model, size)
    show(found, model, size)
    for line in lines:
        log.info(line)
    if config.measure:
        measure(model, precision, device, size)
    return found


def chosen_model(config: InfoConfig) -> VAEConfig:
    """The model of the run, or of the settings."""
    if config.run is None:
        return replace(config.model, spatial_dims=config.model.dims)
    return load_config(RunFolder(Path(config.run).expanduser()).config).model


def show(found: Summary, model: VAEConfig, size: tuple[int, ...]) -> None:
    """The layers and the figures."""
    rows = [[row.name, _sides(row.shape), f"{row.parameters:,}"] for row in found.rows]
    table(f"image {_sides((model.in_channels, *size))}", ["part", "output", "parameters"], rows)
    field = found.receptive_field
    reach = "the whole image" if field is None else f"at most {_sides(field)} voxels"
    log.info(f"parameters       {found.parameters:,}")
    log.info(f"factor           {_sides(found.factor)}, latent {_sides(found.latent)}")
    log.info(f"compression      {found.compression:.3g} times fewer numbers")
    log.info(f"receptive field  {reach}")
    voxels = math.prod(size)
    log.info(f"FLOPs            {found.flops:.3g}, {found.flops / voxels:,.0f} a voxel")


def ways(config: VAEConfig, size: tuple[int, ...], memory: float | None) -> list[str]:
    """What the image takes at once and slab by slab, and which way it goes in so many GiB.

    Raises:
        ConfigError: it goes neither way.
    """
    with torch.device("meta"):
        model = CustomVAE(config)
    whole = f"at once          {_memory(model.plan(size, None))}"
    try:
        plans = [*streamed_plans(model, size)]
    except ConfigError as error:
        # A norm of a plugin: nobody knows what it needs of other slabs.
        return [whole, f"slab by slab     {error}"]
    thickest, thinnest = plans[0], plans[-1]
    lines = [
        whole,
        f"slab by slab     {_memory(thinnest)} to {_memory(thickest)}, the same result",
    ]
    if thickest.way == "passes":
        norms = thickest.passes - 2
        lines.append(f"                 {norms} norms need all of it first: as many more passes")
    if memory is not None:
        plan = model.plan(size, memory)
        way = "at once" if plan.way == "whole" else f"slab by slab, {plan.planes} planes"
        lines.append(f"in {memory:g} GiB".ljust(17) + way)
    return lines


def _memory(plan: StreamingPlan) -> str:
    planes = "" if plan.way == "whole" else f" ({plan.planes} planes)"
    return f"{plan.bytes / 2**30:.2f} GiB{planes}"


def measure(
    model: VAEConfig, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> None:
    """Memory and time of a training step and of a reconstruction, and what would fit."""
    free = free_memory(device) * RESERVE
    log.info(f"{device.type}, {precision.name}, {free / 2**30:.1f} GiB to plan with")
    voxels = math.prod(size)
    rows = []
    for cost in (training_cost, inference_cost):
        found = cost(CustomVAE(model).to_device(device), precision, device, size)
        if found is None:
            log.info("memory cannot be measured on this system")
            return
        most = found.fitting(free)
        side = int(most ** (1 / model.dims))
        rows.append(
            [
                found.name,
                f"{found.at(voxels) / MEGABYTE:,.0f} MiB",
                f"{voxels / found.seconds / 1e6:.2f}",
                str(most // voxels),
                _sides((side,) * model.dims),
            ]
        )
    columns = ["", "memory", "Mvoxel/s", f"largest batch of {_sides(size)}", "largest image"]
    table("measured, batch 1", columns, rows)


def training_cost(
    model: CustomVAE, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> Cost | None:
    """A step of AdamW on the mean absolute error."""
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
    """A reconstruction of the whole image at once."""

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
    """Batches of one and three tell what is fixed and what grows."""
    peaks, seconds = [], math.inf
    for batch in (1, 3):
        images = torch.zeros(batch, model.config.in_channels, *size, device=device)
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


def _sides(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))
