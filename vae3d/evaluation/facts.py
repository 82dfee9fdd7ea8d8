"""What a reader of a report must know: which cases, which model, when, and by what."""

import math
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import torch

from vae3d.autoencoder.protocol import Autoencoder
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData
from vae3d.errors import ConfigError
from vae3d.files.checksums import warn_if_changed
from vae3d.files.plain import read_json
from vae3d.runtime.messages import counted
from vae3d.runtime.run_folder import RunFolder
from vae3d.version import __version__


def facts_of_model(
    model: Autoencoder,
    name: str = "",
    weights: str = "",
    shapes: Iterable[Sequence[int]] = (),
) -> dict[str, Any]:
    """Return the name and the size of a model, what it makes of an image, and how latents scale.

    `weights` is the name of their folder. `shapes` are the spatial shapes of the cases, of which
    the largest is the example.
    """
    about = model.describe()
    compression: dict[str, Any] = about["compression"]
    largest = (*max(shapes, key=math.prod, default=()),)
    if largest:
        channels, voxels = about["channels"], math.prod(largest)
        compression["image_shape"] = [channels, *largest]
        if "latent_channels" in compression:
            latent = compression["latent_channels"], *model.latent_size(largest)
            compression["latent_shape"] = [*latent]
        values = model.latent_values(largest)
        compression.setdefault("ratio", channels * voxels / values)
        compression["values_per_voxel"] = values / voxels
        compression["bits_per_voxel"] = model.latent_bits(largest) / voxels
    statistics, ancestors = model.statistics, model.origin.started_from if model.origin else ()
    scaling = {"text": statistics.text, **statistics.describe()} if statistics else {}
    return {
        "model": {"name": name, "weights": weights, **about["model"]},
        "compression": compression,
        "scaling": scaling,
        **({"started_from": [ancestor.text for ancestor in ancestors]} if ancestors else {}),
    }


def facts_of_training(settings: dict[str, Any], folder: RunFolder | None = None) -> dict[str, Any]:
    """Return steps, seed and start of the training; nothing where its `settings` are not known.

    A training that was interrupted has fewer steps than its settings ask for, and the best weights
    may be those of an earlier step: the files of the run's `folder` know both.
    """
    if "trainer" not in settings:
        return {}
    planned = settings["trainer"]["steps"]
    status, summary = (_read(folder, name) for name in ("status", "summary"))
    trained = status.get("step")
    steps = {
        "trained": trained if _is_count(trained) else planned,
        "planned": planned,
        "best": summary.get("best_step"),
    }
    known = {name: value for name, value in steps.items() if _is_count(value)}
    init_from = settings.get("init_from")
    named = {"init_from": init_from} if init_from is not None else {}
    return {"steps": known, "seed": settings["seed"], **named}


def _is_count(value: object) -> bool:
    """Return whether a value of a file is a possible number of steps."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def facts_of_data(data: CaseData, cases: Cases, indices: list[int], own: bool) -> dict[str, Any]:
    """Return which cases were scored, and where they are; `own` if they are the run's."""
    scored = {*indices}
    splits = {name: len(scored & {*of.tolist()}) for name, of in cases.splits.items()}
    split = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
    place = getattr(data, "root", None) or getattr(data, "list", None)
    kind = type(data).__name__.removesuffix("Config").lower()
    return {
        "split": split if own else f"other data than the run's ({counted(len(indices))})",
        "data": f"{kind} {place}" if place else kind,
    }


def facts_of_today() -> dict[str, Any]:
    """Return the date (UTC) and the versions of what computed."""
    versions = {
        "vae3d": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "versions": versions,
    }


def _read(folder: RunFolder | None, name: str) -> dict[str, Any]:
    """Return a JSON file of a run; nothing where it is missing or damaged."""
    try:
        if folder:
            warn_if_changed(getattr(folder, name))
        values = read_json(getattr(folder, name)) if folder else {}
    except (OSError, ConfigError):
        return {}
    return values if isinstance(values, dict) else {}
