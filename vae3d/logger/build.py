"""`build_loggers`: the loggers that the settings of a run choose."""

from pathlib import Path
from typing import Any

from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.config import LOGGERS, LoggersConfig


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
