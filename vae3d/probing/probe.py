"""`run_probe`: probes of latents and of downsampled scans, on the same folds of the same cases."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vae3d.data.cases import Cases
from vae3d.errors import DataError
from vae3d.latents.joined import JoinedLatent, join_latents
from vae3d.lists.labels import read_labels
from vae3d.probing import linear
from vae3d.probing.config import ProbeConfig
from vae3d.probing.features import coarse, on_grid, pooled
from vae3d.probing.scans import image_of, open_scans, scans_of
from vae3d.probing.scores import Array
from vae3d.probing.subjects import Subjects, check_folds, labelled
from vae3d.runtime.progress import Progress

log = logging.getLogger(__name__)

CHANCE = "chance"
VOXELS = "voxels"
"""Name of the features that are the scan at as few values as those of the latent."""


@dataclass(frozen=True)
class ProbeRow:
    """The scores of one kind of features of `values` numbers, fold by fold in the same order."""

    name: str
    values: int
    folds: list[dict[str, float]]


@dataclass(frozen=True)
class ProbeResult:
    """The rows of a probe, the first one chance, and the cases that they are of."""

    subjects: Subjects
    rows: list[ProbeRow]


def run_probe(
    config: ProbeConfig,
    folders: Sequence[Path],
    labels: Path,
    progress: Progress,
) -> ProbeResult:
    """Score linear probes of the latents of folders, and of their scans where they are named.

    Raises:
        UserError: scikit-learn is missing, the labels do not fit, or there are too few groups.
    """
    linear.check_installed()
    latents = [x for x in join_latents(folders) if config.split in ("all", x.entry.split)]
    if not latents:
        raise DataError(f"split={config.split} holds no latent; use split=all")
    table = read_labels(labels, config.label, config.group)
    scans = open_scans(config.data, folders[0], progress)
    indices = scans_of(scans, latents) if scans is not None else None
    groups = _groups_of(scans, indices, latents) if scans is not None and indices else None
    subjects = labelled(latents, table, config.task, groups)
    check_folds(subjects, config.folds)
    chosen = {latent.name for latent in subjects.latents}
    kept = [n for x, n in zip(latents, indices or [], strict=False) if x.name in chosen]
    seen = _seen(config, subjects.latents, scans, kept if indices else None, progress)
    subjects = replace(subjects, seen=seen)
    log.info(f"groups: {subjects.group_source}")
    return ProbeResult(subjects, scored(config, subjects))


def scored(config: ProbeConfig, subjects: Subjects) -> list[ProbeRow]:
    """Return the scores of chance and of all features of the cases, all on the same folds."""
    target, classes = subjects.target, len(subjects.classes)
    strata = linear.strata_of(target, bool(classes), config.folds)
    folds = [
        fold
        for repeat in range(config.repeats)
        for fold in linear.folds_of(strata, subjects.groups, config.folds, config.seed + repeat)
    ]
    rows = [ProbeRow(CHANCE, 0, [linear.chance_scores(target, f, classes) for f in folds])]
    for name, features in subjects.seen.items():
        scores = [
            linear.fold_scores(
                features, target, subjects.groups, fold, classes, config.strength, config.seed
            )
            for fold in folds
        ]
        rows.append(ProbeRow(name, features.shape[1], scores))
    return rows


def _groups_of(
    scans: Cases, indices: Sequence[int], latents: Sequence[JoinedLatent]
) -> dict[str, int]:
    groups = scans.group_of()
    return {x.name: groups[index] for x, index in zip(latents, indices, strict=True)}


def _seen(
    config: ProbeConfig,
    latents: Sequence[JoinedLatent],
    scans: Cases | None,
    indices: Sequence[int] | None,
    progress: Progress,
) -> dict[str, Array]:
    """Return what is seen of the cases by name; each latent and each scan is read once."""
    of: dict[str, Callable[..., object]] = {
        "pooled": pooled,
        "grid": lambda mean: on_grid(mean, config.grid),
    }
    features: dict[str, list[Array]] = {}
    progress.start(0, len(latents))
    for place, latent in enumerate(latents):
        mean = latent.read().mean
        own = {name: np.asarray(of[name](mean)) for name in config.summaries}
        image = None
        if scans is not None and indices is not None:
            image = image_of(scans, indices[place], latent)
        for name, values in own.items():
            features.setdefault(f"latents, {name}", []).append(values)
            if image is not None:
                small = coarse(image, len(values)).numpy()
                features.setdefault(f"{VOXELS} for {name}", []).append(small)
        progress.advance()
    progress.close()
    return {name: np.stack(values) for name, values in features.items()}
