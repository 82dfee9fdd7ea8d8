"""TensorBoard event files in the run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError
from vae3d.logger.base import Image, Logger, Scores


@dataclass
class TensorboardConfig:
    """The events lie in `folder` below the run."""

    folder: str = "tensorboard"


class TensorboardLogger(Logger):
    """Scalars and pictures; videos stay files of the report."""

    def __init__(self, config: TensorboardConfig, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ConfigError(
                "logger=tensorboard needs a package: pip install 'vae3d[tensorboard]'"
            ) from None
        self.writer: Any = SummaryWriter(str(folder / config.folder))

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        for name, value in scores.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)

    def log_image(self, step: int, name: str, image: Image) -> None:
        self.writer.add_image(f"planes/{name}", image, step, dataformats="HWC")

    def close(self, failed: bool = False) -> None:
        self.writer.close()
