"""`vae3d info`: the layers of a model, and its memory and time on this machine."""

import logging
import math
from dataclasses import replace

import torch

from vae3d.autoencoder.memory import memory_lines
from vae3d.autoencoder.summary import Summary, summarise
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.info import InfoConfig
from vae3d.commands.saved import load_config
from vae3d.errors import ConfigError
from vae3d.files.links import check_inside
from vae3d.files.paths import user_path
from vae3d.logger.console import print_lines, table
from vae3d.model.config import VAEConfig
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import free_memory, memory_budget
from vae3d.runtime.precision import Precision
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.threads import follow_quota
from vae3d.trainer.cost import inference_cost, training_cost

log = logging.getLogger(__name__)

MEBIBYTE = 2**20
USABLE_SHARE = 0.9
"""Share of the free memory that is planned with."""


def info(config: InfoConfig) -> Summary:
    """Print the layers and totals of a model, and measured memory and time; return the summary.

    Raises:
        UserError: the run does not exist, or the size does not fit the model.
    """
    model = chosen_model(config)
    if len(config.size) not in (1, model.dims):
        raise ConfigError(f"size must be 1 or {model.dims} numbers, got {[*config.size]}")
    size = tuple(config.size) * (model.dims if len(config.size) == 1 else 1)
    follow_quota()
    device = choose_device(config.device, key="device")
    # Checked before anything is printed.
    precision = Precision(config.precision, device)
    lines = memory_lines(model, size, memory_budget(config.memory, device))
    summary = summarise(model, size)
    show(summary, model, size)
    print_lines(lines)
    if config.measure:
        measure(model, precision, device, size)
    return summary


def chosen_model(config: InfoConfig) -> VAEConfig:
    """Return the model settings of the run, or those of `model=`."""
    if config.run is None:
        return replace(config.model, spatial_dims=config.model.dims)
    folder = user_path(config.run)
    return load_config(check_inside(folder, RunFolder(folder).config)).model


def show(summary: Summary, model: VAEConfig, size: tuple[int, ...]) -> None:
    """Print the layers and the totals."""
    rows = [[row.name, _sides(row.shape), f"{row.parameters:,}"] for row in summary.rows]
    table(f"image {_sides((model.in_channels, *size))}", ["part", "output", "parameters"], rows)
    field = summary.receptive_field
    reach = "the whole image" if field is None else f"at most {_sides(field)} voxels"
    each = summary.flops / math.prod(size)
    lines = (
        f"parameters       {summary.parameters:,}",
        f"factor           {_sides(summary.factor)}, latent {_sides(summary.latent)}",
        f"compression      {summary.compression:.3g} times fewer numbers",
        f"receptive field  {reach}",
        f"FLOPs            {summary.flops:.3g}, {each:,.0f} a voxel",
    )
    print_lines(lines)


def measure(
    model: VAEConfig, precision: Precision, device: torch.device, size: tuple[int, ...]
) -> None:
    """Print memory and time of a training step and of a reconstruction, and the limits."""
    free = free_memory(device) * USABLE_SHARE
    log.info(f"{device.type}, {precision.name}, {free / 2**30:.1f} GiB to plan with")
    voxels = math.prod(size)
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
                _sides((side,) * model.dims),
            ]
        )
    columns = ["", "memory", "Mvoxel/s", f"largest batch of {_sides(size)}", "largest image"]
    table("measured, batch 1", columns, rows)


def _sides(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))
