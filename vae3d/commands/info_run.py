"""`vae3d info`: the layers of a model, and its memory and time on this machine."""

import logging
import math
import sys
from dataclasses import replace
from typing import Any

import torch

from vae3d.autoencoder.memory import memory_lines
from vae3d.autoencoder.places import find_weights
from vae3d.autoencoder.start import read_start
from vae3d.autoencoder.summary import Summary, summarise
from vae3d.budget.cost import print_costs
from vae3d.budget.memory import TrainingStep, training_lines
from vae3d.commands.info import InfoConfig
from vae3d.errors import ConfigError
from vae3d.files.links import check_inside
from vae3d.logger.console import print_lines, table
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.run.saved import load_config
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import memory_budget
from vae3d.runtime.precision import Precision
from vae3d.runtime.shell import next_command
from vae3d.runtime.threads import follow_quota
from vae3d.trainer.config import TrainerConfig

log = logging.getLogger(__name__)


def info(config: InfoConfig) -> Summary:
    """Print the layers and totals of a model, and measured memory and time; return the summary.

    Raises:
        UserError: the run does not exist, or the size does not fit the model.
    """
    config.check_given()
    model, train, loss = chosen(config)
    if len(config.size) not in (1, model.dims):
        raise ConfigError(f"size must be 1 or {model.dims} numbers, got {[*config.size]}")
    size = tuple(config.size) * (model.dims if len(config.size) == 1 else 1)
    follow_quota()
    device = choose_device(config.device, key="device")
    # Checked before anything is printed.
    precision = Precision(config.precision, device)
    memory = memory_budget(config.memory, device)
    lines = memory_lines(model, size, memory)
    if config.batch_size is not None:
        trainer = TrainerConfig(
            batch_size=config.batch_size, precision=precision.name, train=train
        ).divided(device.type, torch.get_num_threads(), model.norm != "batch")
        step = TrainingStep.of(model, loss, trainer, device, size)
        lines += training_lines(step, memory)
    summary = summarise(model, size)
    show(summary, model, size)
    print_lines(lines)
    if config.measure:
        print_costs(model, precision, device, size)
    log.info(next_step(config))
    return summary


def chosen(config: InfoConfig) -> tuple[VAEConfig, Any, LossConfig]:
    """Return the model settings of the run, what it trains and its loss, or all of `model=`."""
    if config.run is None:
        return replace(config.model, spatial_dims=config.model.dims), "all", LossConfig()
    place = find_weights(config.run)
    if place.is_alone:
        return read_start(config.run).config, "all", LossConfig()
    run = load_config(check_inside(place.folder.path, place.folder.config))
    return run.model, run.trainer.train, run.loss


def next_step(config: InfoConfig) -> str:
    """Return what is usually typed next: an evaluation of the run, or a training of the model."""
    if config.run is not None:
        return next_command("eval", f"run={config.run}")
    return next_command("train", *(word for word in sys.argv[1:] if word.startswith("model")))


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


def _sides(numbers: tuple[int, ...]) -> str:
    return " x ".join(map(str, numbers))
