"""`config.yaml` of a run: the settings of its training, and which of them may change."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from vae3d.commands.train import TrainConfig
from vae3d.errors import ConfigError, RunError
from vae3d.runtime.choices import EARLIER
from vae3d.runtime.differences import as_typed, differences
from vae3d.runtime.run_list import no_run
from vae3d.settings.saved import describe, read_settings
from vae3d.trainer.beginning import Asked
from vae3d.trainer.config import ALLOWABLE, RESTRICTED

log = logging.getLogger(__name__)

MAY_CHANGE = {
    "data": {
        *("root", "include", "exclude", "label_maps", "list", "store", "codec", "check"),
        *("workers", "timeout", "cache_gib", "max_skipped"),
    },
    "model": {"checkpointing"},
    "patching": set[str](),
    "loss": set[str](),
}
"""Groups whose settings are fixed for a run, and the keys of each that may change because they do
not affect its result."""


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
    changed = differences(frozen(old), frozen(new))
    if changed:
        raise RunError(
            f"{file.parent}: belongs to other settings ({'; '.join(changed)}); "
            "choose another name= or restore the settings"
        )
    changes = {
        name: (old["trainer"].get(name), new["trainer"][name])
        for name in RESTRICTED
        if old["trainer"].get(name) != new["trainer"][name]
    }
    lines = [f"trainer.{name}: {as_typed(a)} -> {as_typed(b)}" for name, (a, b) in changes.items()]
    refused = {*changes} - {*config.trainer.allow_change}
    if refused and has_checkpoints:
        # One setting that may never change makes permission for the others useless.
        allowed = refused | {*config.trainer.allow_change}
        way = ""
        if allowed <= {*ALLOWABLE}:
            way = f"add trainer.allow_change=[{','.join(sorted(allowed))}], "
        raise RunError(
            f"{file.parent}: was trained with other settings ({'; '.join(lines)}); "
            f"{way}restore them, or choose another name="
        )
    for line in lines:
        log.info(f"changed for the coming steps: {line}")


def frozen(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the part of described settings that is fixed for a run."""
    fixed: dict[str, Any] = {"seed": settings["seed"]}
    if settings.get("init_from") is not None:
        fixed["init_from"] = settings["init_from"]
    for group, free in MAY_CHANGE.items():
        fixed[group] = {k: v for k, v in settings[group].items() if k not in free}
    return fixed
