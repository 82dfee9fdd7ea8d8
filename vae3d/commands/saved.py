"""`config.yaml` of a run: the settings of its training."""

from pathlib import Path

from vae3d.commands.train import TrainConfig
from vae3d.errors import ConfigError, RunError
from vae3d.settings.saved import read_settings, write_settings


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a run's `config.yaml`."""
    write_settings(config, path)


def load_config(path: Path) -> TrainConfig:
    """Read a run's `config.yaml` as data: keys and types are checked, nothing is imported.

    Raises:
        RunError: the file is missing, or does not hold the settings of a training.
    """
    try:
        return read_settings(path, TrainConfig)
    except FileNotFoundError:
        raise RunError(f"{path.parent}: no run here ({path.name} is missing)") from None
    except ConfigError as error:
        raise RunError(f"{path}: not the settings of a training: {error}") from error
