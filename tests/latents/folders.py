"""Folders of latents, as `vae3d encode` writes them, without a model."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tests.latents.test_files import a_record
from vae3d.latents.file import Latent, write_latent
from vae3d.latents.folder import SETTINGS, Entry, latent_file, write_manifest, write_statistics
from vae3d.latents.health import LatentHealth
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.values.latent_statistics import LatentStatistics

OWN = LatentStatistics(0.5, 0.1, [0.0, 0.1, 0.2], [1.0, 2.0, 3.0], cases=4)


def write_folder(
    folder: Path,
    cases: Mapping[str, int],
    weights: str = "w",
    own: LatentStatistics | None = OWN,
    shift: Sequence[float] = (),
    contract: Mapping[str, object] | None = None,
    encoder: str | None = None,
) -> Path:
    """Write latents (3, 3, 4, 3) of cases by name, each drawn from its seed; return the folder.

    `shift` is added to the first channel of each case in turn. The voxels of a scan are known by
    its seed.
    """
    health, entries = LatentHealth(), []
    for number, (name, seed) in enumerate(sorted(cases.items())):
        generator = torch.Generator().manual_seed(seed)
        mean = torch.randn(3, 3, 4, 3, generator=generator)
        mean[0] += shift[number] if shift else 0
        by = {"weights": weights, "encoder": encoder}
        record = a_record(case_id=name, voxels=f"v{seed}", geometry="g", **by)
        latent = Latent(record, mean, torch.full_like(mean, -4.0))
        write_latent(folder / latent_file(name), latent)
        health.add(DiagonalGaussian(latent.mean[None], latent.logvar[None]))
        split = "val" if seed % 3 == 0 else "train"
        file, shape = latent_file(name), tuple(record.shape)
        entries.append(Entry(name, split, file, shape, record.size, f"v{seed}", weights))
    write_manifest(folder, entries)
    write_statistics(folder, health.summary(), len(entries), weights, own)
    known = contract or {"kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU"}
    settings = {"weights": weights, "contract": known, "spacing": None, "channel": None}
    settings["architecture"] = {"factor": [4, 2, 2], "latent_channels": 3, "spatial_dims": 3}
    (folder / SETTINGS).write_text(json.dumps(settings))
    return folder
