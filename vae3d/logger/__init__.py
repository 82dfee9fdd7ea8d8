"""Where losses, scores and pictures go; one file a destination."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.tensorboard import TensorboardConfig, TensorboardLogger
from vae3d.logger.wandb import WandbConfig, WandbLogger


@dataclass
class LoggersConfig:
    """The loggers that were asked for besides console and metrics.csv."""

    wandb: WandbConfig | None = None
    tensorboard: TensorboardConfig | None = None


def build_loggers(
    config: LoggersConfig, folder: Path, name: str, run_config: dict[str, Any]
) -> Logger:
    """The loggers of a run; `run_config` is shown with it."""
    loggers: list[Logger] = []
    if config.wandb is not None:
        loggers.append(WandbLogger(config.wandb, folder, name, run_config))
    if config.tensorboard is not None:
        loggers.append(TensorboardLogger(config.tensorboard, folder))
    return LoggerGroup(loggers)
