"""The loggers that the settings of a run choose, and those that every run has."""

from pathlib import Path
from typing import Any

from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.config import LOGGERS, LoggersConfig
from vae3d.logger.console import ConsoleLogger
from vae3d.logger.csv import CsvLogger
from vae3d.logger.progress import ProgressPicture
from vae3d.runtime.run_folder import RunFolder


def build_loggers(
    config: LoggersConfig, folder: Path, name: str, run_config: dict[str, Any]
) -> Logger:
    """Return the loggers of a run; those that can show its settings show `run_config`."""
    chosen = {kind: getattr(config, kind) for kind in LOGGERS}
    return LoggerGroup(
        [
            LOGGERS[kind](settings, folder, name, run_config)
            for kind, settings in chosen.items()
            if settings is not None
        ]
    )


def with_files(table: CsvLogger, folder: RunFolder, total_steps: int, chosen: Logger) -> Logger:
    """Return the chosen loggers together with metrics.csv, the terminal and progress.png."""
    picture = ProgressPicture(folder.metrics, folder.progress)
    return LoggerGroup([table, ConsoleLogger(total_steps), picture, chosen])
