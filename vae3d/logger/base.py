"""`Logger`: what a run tells the world; the base class is the silent one."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, float]
Image = NDArray[np.uint8]


class Logger:
    """Says nothing; every way of speaking overrides what it can say."""

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Losses and scores by name after `step` updates, of `train` or `val`."""

    def log_image(self, step: int, name: str, image: Image) -> None:
        """A picture (H, W, 3)."""

    def log_video(self, step: int, name: str, path: Path) -> None:
        """An mp4 or gif on disk."""

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """A table of results."""

    def log_file(self, name: str, path: Path) -> None:
        """A file of results on disk."""

    def close(self, failed: bool = False) -> None:
        """Nothing more will be said."""


class LoggerGroup(Logger):
    """Several loggers as one."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = list(loggers)

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        for logger in self.loggers:
            logger.log(step, scores, split)

    def log_image(self, step: int, name: str, image: Image) -> None:
        for logger in self.loggers:
            logger.log_image(step, name, image)

    def log_video(self, step: int, name: str, path: Path) -> None:
        for logger in self.loggers:
            logger.log_video(step, name, path)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        for logger in self.loggers:
            logger.log_table(name, columns, rows)

    def log_file(self, name: str, path: Path) -> None:
        for logger in self.loggers:
            logger.log_file(name, path)

    def close(self, failed: bool = False) -> None:
        for logger in self.loggers:
            logger.close(failed)
