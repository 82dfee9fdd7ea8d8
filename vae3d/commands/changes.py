"""What may change from one start of a run to the next, and what may not."""

import logging
from pathlib import Path
from typing import Any

from vae3d.commands.saved import load_config
from vae3d.commands.train import TrainConfig
from vae3d.errors import RunError
from vae3d.settings.saved import describe, differences
from vae3d.trainer.config import ALTERS, MAY_BE_ALLOWED

log = logging.getLogger(__name__)

MAY_CHANGE = {
    "data": {"root", "list", "workers", "timeout", "cache_gib", "store", "codec", "max_skipped"},
    "model": {"checkpointing"},
    "patching": set[str](),
    "loss": set[str](),
}
"""Groups whose settings a run keeps, and the keys of each that do not matter to its result."""


def check_changes(file: Path, config: TrainConfig, has_checkpoints: bool) -> None:
    """Compare the settings with those of the run's `file`, and log what changes from here.

    Raises:
        RunError: something differs that may not.
    """
    old, new = describe(load_config(file)), describe(config)
    changed = differences(frozen(old), frozen(new))
    if changed:
        raise RunError(
            f"{file.parent}: belongs to other settings ({'; '.join(changed)}); "
            "choose another name= or take the settings back"
        )
    altered = {
        name: (old["trainer"].get(name), new["trainer"][name])
        for name in ALTERS
        if old["trainer"].get(name) != new["trainer"][name]
    }
    said = [f"trainer.{name}: {a} -> {b}" for name, (a, b) in altered.items()]
    refused = {*altered} - {*config.trainer.allow_change}
    if refused and has_checkpoints:
        names = ",".join(sorted(refused & {*MAY_BE_ALLOWED}))
        way = f"say trainer.allow_change=[{names}], " if names else ""
        raise RunError(
            f"{file.parent}: was trained otherwise so far ({'; '.join(said)}); "
            f"{way}take it back, or choose another name="
        )
    for line in said:
        log.info(f"from here on {line}")


def frozen(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of described settings that a run keeps from start to end."""
    kept: dict[str, Any] = {"seed": settings["seed"]}
    for group, free in MAY_CHANGE.items():
        kept[group] = {k: v for k, v in settings[group].items() if k not in free}
    return kept
