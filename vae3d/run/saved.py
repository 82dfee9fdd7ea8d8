"""`config.yaml` of a run: the settings of its training, and which of them may change."""

from dataclasses import asdict, replace
from pathlib import Path

from vae3d.errors import ConfigError, RunError
from vae3d.run.beginning import Asked
from vae3d.run.changes import refuse_changes
from vae3d.run.config import TrainConfig
from vae3d.runtime.choices import EARLIER
from vae3d.runtime.run_list import no_run
from vae3d.settings.saved import describe, read_settings


def load_config(path: Path) -> TrainConfig:
    """Read a run's `config.yaml` as data: keys and types are checked, nothing is imported.

    Raises:
        RunError: the file is missing, or does not hold the settings of a training.
    """
    try:
        config = read_settings(path, TrainConfig)
    except FileNotFoundError:
        raise no_run(path.parent) from None
    except ConfigError as error:
        raise RunError(f"{path}: not the settings of a training: {error}") from error
    trainer = config.trainer.keeping(EARLIER)
    return replace(config, data=config.data.keeping(EARLIER), trainer=trainer)


def load_earlier(path: Path) -> TrainConfig | None:
    """Return the settings with which a run began; None if there is no run yet."""
    return load_config(path) if path.exists() else None


def asked(config: TrainConfig) -> Asked:
    """Return which network and weights settings ask for."""
    return Asked(config.init_from, config.model, "model" in config.typed)


def check_changes(file: Path, config: TrainConfig, has_checkpoints: bool) -> None:
    """Compare the settings with those of the run's `file`, and log the allowed changes.

    Raises:
        RunError: a setting differs that may not change.
    """
    saved = load_config(file)
    data = config.data.keeping(asdict(saved.data))
    trainer = config.trainer.keeping(asdict(saved.trainer))
    old, new = describe(saved), describe(replace(config, data=data, trainer=trainer))
    refuse_changes(file.parent, old, new, config.trainer.allow_change, has_checkpoints)
