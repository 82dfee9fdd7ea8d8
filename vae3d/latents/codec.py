"""`Codec`: cases to latents, and latents back to volumes in the scan's place and units."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import fingerprint
from vae3d.data.cases import Case
from vae3d.errors import DataError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.file import Latent, LatentRecord
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values.intensity import IntensityRange


@dataclass(frozen=True)
class Codec:
    """Cases to latents with the way back to their scans, and latents to volumes, by one runner."""

    runner: ModelRunner

    @property
    def model(self) -> CustomVAE:
        """The model whose latents they are."""
        return self.runner.model

    @cached_property
    def weights(self) -> str:
        """What these weights are known by."""
        return fingerprint(self.model.config, self.model.state_dict())

    def record(self, case: Case, split: str = "", scan: str = "") -> LatentRecord:
        """What leads from the latent of a case back to its scan."""
        volume, geometry = case.volume(), case.geometry
        return LatentRecord(
            case_id=case.case_id,
            split=split,
            shape=[*volume.shape],
            affine=volume.affine.tolist(),
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
        )

    def encode(self, case: Case, split: str = "", scan: str = "") -> Latent:
        """The posterior of a case, on the CPU.

        Raises:
            ConfigError: it cannot be found in `memory`.
        """
        posterior = self.runner.encode(case.range.to_model(case.volume().data))
        record = self.record(case, split, scan)
        return Latent(record, posterior.mean[0], posterior.logvar[0])

    def decode(self, latent: Tensor, record: LatentRecord) -> Volume:
        """The volume of a latent (C, *size) on the grid of the record, in its units, float32.

        Raises:
            ConfigError: it cannot be found in `memory`.
            DataError: the model makes values of it that are no numbers.
        """
        values = self.runner.decode(latent, tuple(record.shape))
        if not values.amax().isfinite():
            raise DataError(f"{record.case_id}: its latent decodes to values that are no numbers")
        range_ = IntensityRange(record.low, record.high, record.unit)
        data = range_.from_model(values, copy=False)
        return Volume(data, np.array(record.affine), record.case_id, source_of(record))


def source_of(record: LatentRecord) -> SourceGeometry | None:
    """The grid of the file that a latent's scan came from."""
    shape, affine, dtype = record.source_shape, record.source_affine, record.source_dtype
    if shape is None or affine is None or dtype is None:
        return None
    return SourceGeometry(Path(record.case_id), tuple(shape), np.array(affine), dtype)
