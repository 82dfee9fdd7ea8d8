"""`Codec`: encode cases to latents, and decode latents to volumes on the scan's grid."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae3d.autoencoder.fingerprints import Fingerprints, fingerprint, have_same_encoder
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.cases import Case
from vae3d.errors import ConfigError, DataError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.file import Latent, LatentRecord
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values.intensity import IntensityRange

MAX_EXACT = 2**24
"""Entries of a codebook up to which float32 holds every index."""


@dataclass(frozen=True)
class Codec:
    """Encodes cases to latents with their records, and decodes latents to volumes."""

    runner: ModelRunner

    @property
    def model(self) -> CustomVAE:
        """The model that encodes and decodes."""
        model = self.runner.model
        assert isinstance(model, CustomVAE), "latents are files of vae3d's own networks"
        return model

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model's weights."""
        return fingerprint(self.model.config, self.model.state_dict())

    @cached_property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of the model's encoder and decoder."""
        return Fingerprints.of(self.model.config, self.model.state_dict())

    def reads(self, record: LatentRecord) -> bool:
        """Return whether a latent is of the model's encoder."""
        recorded = record.weights, record.encoder
        return record.weights == self.weights or have_same_encoder(
            recorded, self.weights, self.fingerprints
        )

    def record(self, case: Case, split: str = "", scan: str = "") -> LatentRecord:
        """Return the record of a case, with which its latent decodes to its scan's grid."""
        geometry, identity = case.geometry, case.identity
        return LatentRecord(
            case_id=case.case_id,
            split=split,
            shape=[*case.shape],
            affine=case.affine.tolist(),
            factor=list(self.model.factor),
            low=case.range.low,
            high=case.range.high,
            unit=case.range.unit,
            weights=self.weights,
            scan=scan,
            precision=self.runner.precision.name,
            source_shape=None if geometry is None else [*geometry.shape],
            source_affine=None if geometry is None else geometry.affine.tolist(),
            source_dtype=None if geometry is None else geometry.dtype,
            voxels=None if identity is None else identity.voxels,
            geometry=None if identity is None else identity.geometry,
            source_forms=None if geometry is None else geometry.forms,
            encoder=self.fingerprints.encoder,
            decoder=self.fingerprints.decoder,
            levels=[*self.model.config.codes] or None,
        )

    def encode(
        self, case: Case, split: str = "", scan: str = "", values: Tensor | None = None
    ) -> Latent:
        """Return the posterior of a case, on the CPU; `values` are its voxels if they are read.

        Raises:
            ConfigError: it cannot be computed within `memory`.
        """
        values = case.volume().data if values is None else values
        posterior = self.runner.encode(case.range.to_model(values))
        record = self.record(case, split, scan)
        return Latent(record, posterior.mean[0], posterior.logvar[0])

    def decode(self, latent: Tensor, record: LatentRecord) -> Volume:
        """Return the volume of a latent (C, *size) on its record's grid and in its units, float32.

        Raises:
            ConfigError: it cannot be computed within `memory`.
            DataError: the decoded values are not finite.
        """
        values = self.runner.decode(latent, tuple(record.shape))
        if not values.amax().isfinite():
            raise DataError(f"{record.case_id}: its latent decodes to values that are not finite")
        range_ = IntensityRange(record.low, record.high, record.unit)
        return Volume(
            range_.from_model(values, copy=False),
            np.array(record.affine),
            record.case_id,
            source_of(record),
        )

    def are_indices(self, latent: Tensor) -> bool:
        """Return whether an array (C, *size) holds indices of the model's codebook.

        That is one channel, where the latents of the model have several.
        """
        model = self.model
        return model.quantizer is not None and len(latent) == 1 < model.config.latent_channels

    def of_indices(self, indices: Tensor, path: Path) -> Tensor:
        """Return the latent (C, *size) of indices (1, *size) that were read from a file.

        Raises:
            DataError: they are no whole numbers, or not in the codebook.
        """
        quantizer = self.model.quantizer
        assert quantizer is not None
        if quantizer.size > MAX_EXACT:
            raise DataError(
                f"{path}: indices of a codebook of {quantizer.size:,} entries cannot be read from "
                "an array; write the latents themselves"
            )
        if not torch.equal(indices, indices.round()):
            raise DataError(f"{path}: must hold whole numbers, the indices of a codebook")
        try:
            return quantizer.latents(indices.long())[0]
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error

    def check_fits(self, latent: Tensor, record: LatentRecord, path: Path) -> None:
        """Raise a ConfigError if model, latent and record do not fit together."""
        model = self.model
        expected = model.config.latent_channels, *model.latent_size(record.shape)
        if tuple(latent.shape) != expected or tuple(record.factor) != model.factor:
            image = " x ".join(map(str, record.shape))
            raise ConfigError(
                f"{path}: has shape {tuple(latent.shape)}, but a latent of these weights for an "
                f"image of {image} has {expected}"
            )


def source_of(record: LatentRecord) -> SourceGeometry | None:
    """Return the grid of the file of a latent's scan, or None if it has no file."""
    shape, affine, dtype = record.source_shape, record.source_affine, record.source_dtype
    if shape is None or affine is None or dtype is None:
        return None
    path, forms = Path(record.case_id), record.source_forms
    return SourceGeometry(path, tuple(shape), np.array(affine), dtype, forms)
