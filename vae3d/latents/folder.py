"""A folder of latents: a file for each case, what they are, and their figures together."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae3d.data.prepare import case_file
from vae3d.errors import ConfigError, DataError
from vae3d.latents.file import SUFFIX
from vae3d.runtime.files import write_json, write_text
from vae3d.runtime.plain import from_plain, read_json

SETTINGS = "latents.json"
MANIFEST = "manifest.csv"
STATISTICS = "statistics.json"
NIFTI_FOLDER = "nifti"
COLUMNS = ("case_id", "split", "file", "shape", "size")


@dataclass(frozen=True)
class Entry:
    """One line of the manifest: `file` is a path below the folder, `size` that of the latent."""

    case_id: str
    split: str
    file: str
    shape: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True)
class LatentStatistics:
    """How the latents of a set become numbers around 0 of standard deviation 1.

    Under diffusers' names: (z - shift_factor) * scaling_factor, or for each channel on its own
    (z - latents_mean) / latents_std. Both are of samples of the posteriors.
    """

    scaling_factor: float
    shift_factor: float
    latents_mean: list[float]
    latents_std: list[float]

    def normalised(self, latent: Tensor, way: str = "channels") -> Tensor:
        """Latents (..., C, *spatial) as a diffusion model wants them, `channels` or `factor`."""
        shift, scale = self._shift_and_scale(latent, way)
        return (latent - shift) / scale

    def restored(self, latent: Tensor, way: str = "channels") -> Tensor:
        """The inverse of `normalised`, for what a diffusion model made."""
        shift, scale = self._shift_and_scale(latent, way)
        return latent * scale + shift

    def _shift_and_scale(self, latent: Tensor, way: str) -> tuple[Tensor, Tensor]:
        if way == "factor":
            return latent.new_tensor(self.shift_factor), latent.new_tensor(1 / self.scaling_factor)
        if way != "channels":
            raise ConfigError(f"normalise must be channels, factor or null, got {way!r}")
        axis = next(
            (a for a in (0, 1) if latent.shape[a : a + 1] == (len(self.latents_mean),)), None
        )
        if axis is None:
            raise ConfigError(
                f"latents of shape {tuple(latent.shape)} have not the statistics' "
                f"{len(self.latents_mean)} channels"
            )
        wide = (-1, *(1,) * (latent.dim() - axis - 1))
        mean = torch.tensor(self.latents_mean).to(latent).reshape(wide)
        # A channel that says nothing is left without a scale.
        std = torch.tensor([s or 1.0 for s in self.latents_std]).to(latent).reshape(wide)
        return mean, std


def latent_file(case_id: str) -> str:
    """The path of a case's file below the folder."""
    return f"cases/{case_file(case_id)}{SUFFIX}"


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes `manifest.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for e in entries:
        sides = ("x".join(map(str, side)) for side in (e.shape, e.size))
        writer.writerow([e.case_id, e.split, e.file, *sides])
    write_text(folder / MANIFEST, text.getvalue())


def read_manifest(folder: Path) -> list[Entry]:
    """The cases of a folder that `vae3d encode` finished.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        rows = [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        found = [
            Entry(
                row["case_id"],
                row["split"],
                row["file"],
                _sides(row["shape"]),
                _sides(row["size"]),
            )
            for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {MANIFEST}; vae3d encode writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); run vae3d encode again") from error
    for entry in found:
        if entry.file != latent_file(entry.case_id):
            raise DataError(f"{path}: {entry.file!a:.80} is not where {entry.case_id!a:.80} lies")
    return found


def write_statistics(folder: Path, summary: dict[str, Any], cases: int) -> None:
    """Writes `statistics.json`: what `LatentHealth.summary` tells of so many cases."""
    write_json(folder / STATISTICS, {"cases": cases, **summary})


def read_statistics(folder: Path) -> LatentStatistics:
    """The figures to normalise by.

    Raises:
        DataError: missing or damaged.
    """
    path = folder / STATISTICS
    names = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
    try:
        values = from_plain(dict[str, Any], read_json(path), "the file")
        found: LatentStatistics = from_plain(
            LatentStatistics, {name: values[name] for name in names if name in values}
        )
        numbers = [found.scaling_factor, found.shift_factor, *found.latents_mean]
        if len(found.latents_mean) != len(found.latents_std) or not np.isfinite(numbers).all():
            raise ConfigError("its figures do not fit together")
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {STATISTICS}; vae3d encode writes one") from None
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}; run vae3d encode again") from error
    return found


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x"))
