"""What a reader of an evaluation must know of it: the facts at the top of its report."""

import math
from datetime import datetime, timezone
from typing import Any

import torch

from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData
from vae3d.version import __version__


def facts_of_model(model: CustomVAE) -> dict[str, str]:
    """Return the size of a model and what it makes of an image."""
    vae = model.config
    ratio = math.prod(vae.factor) * vae.in_channels / vae.latent_channels
    return {
        "Model": f"{sum(p.numel() for p in model.parameters()):,} parameters",
        "Latent grid": f"{vae.latent_channels} channels, 1/{' x 1/'.join(map(str, vae.factor))}",
        "Compression": f"{ratio:g} numbers of the image for one of the latent",
    }


def facts_of_training(settings: dict[str, Any]) -> dict[str, str]:
    """Return steps and seed of the training; nothing where its `settings` are not known."""
    if "trainer" not in settings:
        return {}
    steps = settings["trainer"]["steps"]
    return {"Steps of the training": f"{steps:,}", "Seed": str(settings["seed"])}


def facts_of_data(data: CaseData, cases: Cases, indices: list[int], own: bool) -> dict[str, str]:
    """Return which cases were scored, and where they are; `own` if they are the run's."""
    scored = {*indices}
    splits = {name: len(scored & {*of.tolist()}) for name, of in cases.splits.items()}
    split = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
    place = getattr(data, "root", None) or getattr(data, "list", None)
    kind = type(data).__name__.removesuffix("Config").lower()
    return {
        "Split": split if own else f"other data than the run's ({len(indices)} cases)",
        "Data": f"{kind} {place}" if place else kind,
    }


def facts_of_today() -> dict[str, str]:
    """Return the date and the versions."""
    return {
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "Versions": f"vae3d {__version__}, torch {torch.__version__}",
    }
