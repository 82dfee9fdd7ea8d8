"""`LoggersConfig`: loggers of a run in addition to the console and metrics.csv."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from vae3d.bounds import NAME, PATH, Above, Settings
from vae3d.runtime.registry import Registry

if TYPE_CHECKING:
    from vae3d.logger.base import Logger

LOGGERS: "Registry[Callable[..., Logger]]" = Registry(
    "logger",
    {
        "wandb": "vae3d.logger.wandb:WandbLogger",
        "tensorboard": "vae3d.logger.tensorboard:TensorboardLogger",
    },
)
"""Loggers by name; each takes (its config, the run's folder, its name, its settings)."""


@dataclass
class WandbConfig(Settings, key="logger.wandb"):
    """Weights & Biases; the environment's `WANDB_MODE` and `WANDB_API_KEY` are respected."""

    project: Annotated[str, NAME] = "vae3d"
    """Project of the run on Weights & Biases."""
    entity: Annotated[str | None, NAME] = None
    """User or team that owns the project; null is your default."""
    group: Annotated[str | None, NAME] = None
    """Group under which runs are shown together."""
    tags: Annotated[list[str], NAME] = field(default_factory=list)
    """Tags of the run."""
    init_timeout: Annotated[float, Above(0)] = 20.0
    """Seconds to wait for a connection before logging offline."""


@dataclass
class TensorboardConfig(Settings, key="logger.tensorboard"):
    """TensorBoard event files."""

    folder: Annotated[str, PATH] = "tensorboard"
    """Folder of the event files, below the run."""


@dataclass
class LoggersConfig(Settings, key="logger"):
    """The loggers of a run in addition to the console and metrics.csv."""

    wandb: WandbConfig | None = None
    """Weights & Biases, with logger=wandb."""
    tensorboard: TensorboardConfig | None = None
    """TensorBoard, with logger=tensorboard."""
