"""TensorBoard event files in the run folder."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError
from vae3d.logger.base import Image, Logger, Scores
from vae3d.logger.config import TensorboardConfig


class TensorboardLogger(Logger):
    """Logs scalars, pictures and tables; of a report it logs the path, and no videos."""

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
        """Write scalars."""
        for name, value in scores.items():
            self.writer.add_scalar(f"{split}/{name}", value, step)

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Write a picture."""
        self.writer.add_image(f"planes/{name}", image, step, dataformats="HWC")

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Write a table as Markdown."""
        self.writer.add_text(name, as_markdown(columns, rows), 0)

    def log_file(self, name: str, path: Path) -> None:
        """Write the path of a file as text."""
        self.writer.add_text(f"files/{name}", _cell(path), 0)

    def close(self, failed: bool = False) -> None:
        """Flush and close the event file."""
        self.writer.close()


def as_markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as Markdown, with all markup in cells escaped and None as a blank cell."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[cell if cell == "---" else _cell(cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return re.sub(r"[^\w\s.,:;/+-]", lambda sign: f"&#{ord(sign[0])};", " ".join(text.split()))
