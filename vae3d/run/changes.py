"""Which settings a run that resumes may change: those that cannot affect its result."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from vae3d.errors import RunError
from vae3d.runtime.differences import as_typed, differences
from vae3d.trainer.config import ALLOWABLE, RESTRICTED

log = logging.getLogger(__name__)

MAY_CHANGE = {
    "data": {
        *("root", "include", "exclude", "label_maps", "list", "store", "codec", "check"),
        *("workers", "timeout", "cache_gib", "max_skipped"),
    },
    "model": {"checkpointing"},
    "patching": set[str](),
    # Their SHA-256 is compared instead, see `vae3d.trainer.perceptual`.
    "loss": {"perceptual.features"},
}
"""Groups whose settings are fixed for a run, and the keys of each that may change because they do
not affect its result."""


def refuse_changes(
    folder: Path,
    old: dict[str, Any],
    new: dict[str, Any],
    allow: Collection[str],
    has_checkpoints: bool,
) -> None:
    """Compare the described settings of a run with new ones, and log the allowed changes.

    `allow` are the settings of the trainer that may differ once there are checkpoints.

    Raises:
        RunError: a setting differs that may not change.
    """
    changed = differences(frozen(old), frozen(new))
    if changed:
        raise RunError(
            f"{folder}: belongs to other settings ({'; '.join(changed)}); "
            "choose another name= or restore the settings"
        )
    changes = {
        name: (old["trainer"].get(name), new["trainer"][name])
        for name in RESTRICTED
        if old["trainer"].get(name) != new["trainer"][name]
    }
    lines = [f"trainer.{name}: {as_typed(a)} -> {as_typed(b)}" for name, (a, b) in changes.items()]
    refused = {*changes} - {*allow}
    if refused and has_checkpoints:
        # One setting that may never change makes permission for the others useless.
        allowed = refused | {*allow}
        way = ""
        if allowed <= {*ALLOWABLE}:
            way = f"add trainer.allow_change=[{','.join(sorted(allowed))}], "
        raise RunError(
            f"{folder}: was trained with other settings ({'; '.join(lines)}); "
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
        fixed[group] = _without(settings[group], free)
    return fixed


def _without(values: dict[str, Any], free: Collection[str]) -> dict[str, Any]:
    """Return a table without some keys, which may be those of a table in it: `table.key`."""
    kept = {}
    for key, value in values.items():
        inner = {name.removeprefix(f"{key}.") for name in free if name.startswith(f"{key}.")}
        if key not in free:
            kept[key] = _without(value, inner) if inner else value
    return kept
