"""`EncodedLatents`: a folder of `vae3d encode` as the input of a decoder that is trained."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.autoencoder.fingerprints import Fingerprints, fingerprint, have_same_encoder
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.cases import Case, Cases
from vae3d.errors import ConfigError, DataError
from vae3d.files.paths import user_path
from vae3d.latents.file import read_crop
from vae3d.latents.folder import (
    Entry,
    entry_path,
    read_entry,
    read_manifest,
    read_settings,
    read_statistics,
)
from vae3d.loading.latents import LatentCrop
from vae3d.model.config import VAEConfig
from vae3d.model.frozen import is_frozen
from vae3d.patching.region import Region
from vae3d.runtime.messages import counted
from vae3d.streaming.reach import decoder_reach

SHOWN = 3
"""Cases that a message names."""
FIXED = ("weights", "encoder", "precision", "dtype")
"""Settings of a folder of latents on which their values depend."""


@dataclass
class EncodedLatents:
    """The latents of training cases, from which those of patches are cut.

    `entries` are the lines of the folder's manifest by the name of the case, `halo` the latent
    voxels around a patch that are decoded with it, along each axis.
    """

    folder: Path
    settings: dict[str, Any]
    entries: dict[str, Entry]
    factor: tuple[int, ...]
    halo: tuple[int, ...]
    checked: set[str] = field(default_factory=set)

    def aligned(self, region: Region, shape: tuple[int, ...]) -> Region:
        """Return the region moved to the latent grid by less than a latent voxel.

        It ends with the volume where the given one does, and has no voxel outside of it.
        """
        corner, size = [], []
        for start, side, length, factor in zip(
            region.corner, region.size, shape, self.factor, strict=True
        ):
            end = min(start + side, length)
            start = -(-start // factor) if end == length else start // factor
            corner.append(min(start, (length - 1) // factor) * factor)
            size.append((end if end == length else corner[-1] + side) - corner[-1])
        return Region(tuple(corner), tuple(size))

    def crop(self, case: Case, region: Region) -> LatentCrop:
        """Read the latent of an aligned region of a case, with its halo.

        All of a file is verified when it is first read from.

        Raises:
            DataError: it is missing, damaged, or not the latent of this scan.
        """
        entry = self.entries[case.case_id]
        if case.case_id not in self.checked:
            self._check(entry, case)
            self.checked.add(case.case_id)
        box, offset = self._box(region, entry.size)
        mean, logvar = read_crop(entry_path(self.folder, entry), box.slices)
        return LatentCrop(mean, logvar, offset)

    def box_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of the crop of a region of this size that is far from all borders."""
        return tuple(
            math.ceil(s / f) + 2 * h for s, f, h in zip(size, self.factor, self.halo, strict=True)
        )

    def _box(self, region: Region, size: tuple[int, ...]) -> tuple[Region, tuple[int, ...]]:
        """Return the box of a region with its halo on a latent grid, and where the region begins.

        At a border of the volume the box keeps its size: it is larger on the other side.
        """
        inner = [c // f for c, f in zip(region.corner, self.factor, strict=True)]
        box = [min(n, s) for n, s in zip(size, self.box_size(region.size), strict=True)]
        corner = tuple(
            max(0, min(first - halo, length - side))
            for first, halo, length, side in zip(inner, self.halo, size, box, strict=True)
        )
        offset = tuple(first - start for first, start in zip(inner, corner, strict=True))
        return Region(corner, tuple(box)), offset

    def _check(self, entry: Entry, case: Case) -> None:
        """Raise a DataError unless a file is whole, and the latent of this scan."""
        record = read_entry(self.folder, entry).record
        wrong = None
        scanned = case.identity and case.identity.voxels
        if record.voxels and scanned and record.voxels != scanned:
            wrong = "of another scan"
        elif tuple(record.shape) != case.shape:
            wrong = f"of a volume of {record.shape}, this one has {[*case.shape]}"
        elif not math.isclose(record.low, case.range.low, rel_tol=1e-6, abs_tol=1e-6) or (
            not math.isclose(record.high, case.range.high, rel_tol=1e-6, abs_tol=1e-6)
        ):
            wrong = (
                f"of values in [{record.low:g}, {record.high:g}], these are trained in "
                f"[{case.range.low:g}, {case.range.high:g}]"
            )
        if wrong:
            raise DataError(
                f"{self.folder}: its latent of {case.case_id} is {wrong}; encode the data of this "
                "training"
            )

    def fingerprint(self, cases: str) -> str:
        """Return a hash of the latents and of the `cases`, given by their own fingerprint."""
        known = [self.settings.get(key) for key in FIXED]
        scans = [(e.case_id, e.voxels, e.shape) for e in self.entries.values()]
        return hashlib.sha256(json.dumps([cases, known, scans]).encode()).hexdigest()

    @property
    def deviations(self) -> list[float]:
        """The deviation of each latent channel."""
        return read_statistics(self.folder).latents_std

    def check_encoder(self, config: VAEConfig, state: Mapping[str, Tensor]) -> None:
        """Raise a ConfigError if the latents are of another encoder than that of these weights."""
        recorded = str(self.settings.get("weights")), self.settings.get("encoder")
        if not have_same_encoder(
            recorded, fingerprint(config, state), Fingerprints.of(config, state)
        ):
            raise ConfigError(
                f"trainer.latents={self.folder}: holds latents of another encoder than that of "
                "this training; encode the scans with the weights of init_from="
            )


def open_latents(
    name: str | None,
    halo: int | None,
    model: CustomVAE,
    cases: Cases,
    indices: NDArray[np.int64],
    size: Sequence[int] | None,
) -> EncodedLatents | None:
    """Open the latents of the folder `name` for these cases; None if a training takes images.

    `halo` is the chosen number of latent voxels around a patch, None for as many as the decoder
    looks at; `size` is that of a patch, None for whole volumes.

    Raises:
        ConfigError: the encoder is trained too, or the decoder needs whole latents.
        DataError: the folder is of another network, or holds no latent of some cases.
    """
    if name is None:
        if halo is not None:
            raise ConfigError("trainer.halo has an effect only with trainer.latents=FOLDER")
        return None
    if not is_frozen(model.encoder):
        raise ConfigError(
            "trainer.latents are of an encoder that stays as it is; add trainer.train=decoder"
        )
    folder = user_path(name)
    settings = read_settings(folder)
    _check_architecture(folder, settings, model)
    listed = {entry.case_id: entry for entry in read_manifest(folder)}
    names = [cases.case_id(index) for index in indices.tolist()]
    if missing := [name for name in names if name not in listed]:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise DataError(
            f"{folder}: holds no latent of {counted(len(missing), 'training case')} ({shown}); "
            "vae3d encode adds them"
        )
    around = halo_of(halo, model.config, size)
    return EncodedLatents(folder, settings, {n: listed[n] for n in names}, model.factor, around)


def data_fingerprints(
    cases: Cases, indices: NDArray[np.int64], latents: EncodedLatents | None
) -> tuple[str, str]:
    """Return the fingerprint of all that is trained on, and the one of earlier versions."""
    prints = cases.fingerprint(indices), cases.earlier_fingerprint(indices)
    if latents is None:
        return prints
    return latents.fingerprint(prints[0]), latents.fingerprint(prints[1])


def halo_of(chosen: int | None, model: VAEConfig, size: Sequence[int] | None) -> tuple[int, ...]:
    """Return the latent voxels on each side of a patch, along each axis.

    `chosen` are those that were asked for, None for as many as the decoder looks at.

    Raises:
        ConfigError: no halo would be enough, and none was chosen.
    """
    if size is None:
        return (0,) * model.dims
    if chosen is not None:
        return (chosen,) * model.dims
    reach = decoder_reach(model)
    if reach is None:
        raise ConfigError(
            "this decoder looks at the whole latent (a norm over space, or attention): train on "
            "whole volumes (patching=none), or choose how far patches look with trainer.halo=N"
        )
    return reach


def _check_architecture(folder: Path, settings: Mapping[str, Any], model: CustomVAE) -> None:
    """Raise a DataError if the latents of a folder are not of the shape of a network's."""
    architecture = settings.get("architecture")
    known = architecture if isinstance(architecture, dict) else {}
    expected = {
        "factor": [*model.factor],
        "latent_channels": model.config.latent_channels,
        "spatial_dims": model.spatial_dims,
    }
    for name, value in expected.items():
        if known.get(name) != value:
            raise DataError(
                f"{folder}: holds latents of another network ({name} {known.get(name)}, this one "
                f"has {value})"
            )
