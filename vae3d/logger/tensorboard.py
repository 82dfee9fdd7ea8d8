"""TensorBoard event files in the run folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError
from vae3d.logger.base import Image, Logger, Scores
from vae3d.logger.config import TensorboardConfig


class TensorboardLogger(Logger):
    """Scalars, pictures and tables; videos and reports stay files, of which the place is told."""

    def __init__(
        self, config: TensorboardConfig, folder: Path, name: str, run_config: dict[str, Any]
    ) -> None:
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

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        self.writer.add_text(name, as_markdown(columns, rows), 0)

    def log_file(self, name: str, path: Path) -> None:
        self.writer.add_text(f"files/{name}", _cell(path), 0)

    def close(self, failed: bool = False) -> None:
        self.writer.close()


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as Markdown, in which no name is markup; what is missing stays blank."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[cell if cell == "---" else _cell(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w\s.,:;/+-]", lambda sign: f"&#{ord(sign[0])};", " ".join(text.split()))
