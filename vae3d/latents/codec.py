"""`Codec`: cases to latents, and latents back to volumes in the scan's place and units."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vae3d.data.cases import Case
from vae3d.data.intensity import IntensityRange
from vae3d.data.volume import SourceGeometry, Volume
from vae3d.errors import DataError
from vae3d.latents.file import Latent, LatentRecord
from vae3d.model.vae import CustomVAE
from vae3d.model.weights import fingerprint
from vae3d.runtime.memory import Memory, planned_memory
from vae3d.runtime.precision import Precision


@dataclass(frozen=True)
class Codec:
    """A model where it lies, in a precision, and in so much `memory` (see `planned_memory`)."""

    model: CustomVAE
    precision: Precision
    memory: Memory = None

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

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
            precision=self.precision.name,
            source_shape=None if geometry is None else [*geometry.shape],
            source_affine=None if geometry is None else geometry.affine.tolist(),
            source_dtype=None if geometry is None else geometry.dtype,
        )

    @torch.no_grad()
    def encode(self, case: Case, split: str = "", scan: str = "") -> Latent:
        """The posterior of a case, on the CPU.

        Raises:
            ConfigError: it cannot be found in `memory`.
        """
        image = case.range.to_model(case.volume().data)[None]
        with self.precision.autocast(self.device):
            posterior = self.model.encode(self._at_hand(image, image.shape[2:]), self._gib)
        record = self.record(case, split, scan)
        return Latent(record, posterior.mean[0].cpu(), posterior.logvar[0].cpu())

    @torch.no_grad()
    def decode(self, latent: Tensor, record: LatentRecord) -> Volume:
        """The volume of a latent (C, *size) on the grid of the record, in its units, float32.

        Raises:
            ConfigError: it cannot be found in `memory`.
            DataError: the model makes values of it that are no numbers.
        """
        shape = tuple(record.shape)
        with self.precision.autocast(self.device):
            image = self.model.decode(self._at_hand(latent[None], shape), shape, self._gib)
        values = image[0].cpu().clamp_(-1, 1)
        if not values.amax().isfinite():
            raise DataError(f"{record.case_id}: its latent decodes to values that are no numbers")
        range_ = IntensityRange(record.low, record.high, record.unit)
        data = range_.from_model(values, copy=False)
        return Volume(data, np.array(record.affine), record.case_id, source_of(record))

    @property
    def _gib(self) -> float | None:
        return planned_memory(self.memory, self.device)

    def _at_hand(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Where the model lies, if all of it goes through at once; slabs go there on their own."""
        whole = self._gib is None or self.model.plan(tuple(shape), self._gib).way == "whole"
        return values.to(self.device) if whole else values


def source_of(record: LatentRecord) -> SourceGeometry | None:
    """The grid of the file that a latent's scan came from."""
    shape, affine, dtype = record.source_shape, record.source_affine, record.source_dtype
    if shape is None or affine is None or dtype is None:
        return None
    return SourceGeometry(Path(record.case_id), tuple(shape), np.array(affine), dtype)
