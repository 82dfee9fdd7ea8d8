"""`Logger`: the interface to log a run; the base class logs nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, float]
Image = NDArray[np.uint8]


class Logger:
    """Logs nothing; each destination overrides the methods that it supports."""

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Log losses and scores by name after `step` updates, of `train` or `val`."""

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Log a picture (H, W, 3), uint8."""

    def log_video(self, step: int, name: str, path: Path) -> None:
        """Log a video, an mp4 or gif on disk."""

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Log a table of results."""

    def log_file(self, name: str, path: Path) -> None:
        """Log a file of results on disk."""

    def close(self, failed: bool = False) -> None:
        """End the log; `failed` if the run ended with an error."""


class NamedLogger(Logger):
    """Logs pictures, videos, tables, files and scores of one command under its name.

    Training and the modes of `vae3d eval` log into one run, where their names keep them apart.
    """

    def __init__(self, logger: Logger, name: str) -> None:
        self.logger = logger
        self.name = name

    def log(self, step: int, scores: Scores, split: str = "") -> None:
        """Log the scores as a split of this name."""
        self.logger.log(step, scores, self.name)

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Log a picture as `NAME/picture`."""
        self.logger.log_image(step, f"{self.name}/{name}", image)

    def log_video(self, step: int, name: str, path: Path) -> None:
        """Log a video as `NAME/video`."""
        self.logger.log_video(step, f"{self.name}/{name}", path)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Log a table as `NAME_table`."""
        self.logger.log_table(f"{self.name}_{name}", columns, rows)

    def log_file(self, name: str, path: Path) -> None:
        """Log a file as `NAME_file`."""
        self.logger.log_file(f"{self.name}_{name}", path)

    def close(self, failed: bool = False) -> None:
        """End the log."""
        self.logger.close(failed)


class LoggerGroup(Logger):
    """Several loggers as one; each call goes to all of them."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = list(loggers)

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Log the scores with all loggers."""
        for logger in self.loggers:
            logger.log(step, scores, split)

    def log_image(self, step: int, name: str, image: Image) -> None:
        """Log a picture with all loggers."""
        for logger in self.loggers:
            logger.log_image(step, name, image)

    def log_video(self, step: int, name: str, path: Path) -> None:
        """Log a video with all loggers."""
        for logger in self.loggers:
            logger.log_video(step, name, path)

    def log_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]
    ) -> None:
        """Log a table with all loggers."""
        for logger in self.loggers:
            logger.log_table(name, columns, rows)

    def log_file(self, name: str, path: Path) -> None:
        """Log a file with all loggers."""
        for logger in self.loggers:
            logger.log_file(name, path)

    def close(self, failed: bool = False) -> None:
        """Close all loggers, the others too if one fails."""
        for logger in self.loggers:
            logger.close(failed)


class BorrowedLoggers(LoggerGroup):
    """Loggers of a program that uses them before and after: they are not closed."""

    def close(self, failed: bool = False) -> None:
        """Leave the loggers open."""
