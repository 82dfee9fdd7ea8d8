"""Crops of stored latents that go with the patches of a training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vae3d.data.cases import Case
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VAEOutput
from vae3d.patching.region import Region


@dataclass(frozen=True)
class LatentCrop:
    """The posterior `mean` and `logvar` (C, *box) of a patch and its halo.

    The patch begins at the latent voxel `offset` of the box.
    """

    mean: Tensor
    logvar: Tensor
    offset: tuple[int, ...]


class StoredLatents(Protocol):
    """The latents of whole volumes, from which those of patches are cut."""

    def aligned(self, region: Region, shape: tuple[int, ...]) -> Region:
        """Return the region of a volume of this shape that is decoded in place of another one."""

    def crop(self, case: Case, region: Region) -> LatentCrop:
        """Read the latent of an aligned region of a case, with its halo."""

    @property
    def deviations(self) -> list[float]:
        """The deviation of each latent channel."""

    def box_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the size of the crop of a region of this size that is far from all borders."""


@dataclass(frozen=True)
class LatentBatch:
    """Crops of one size: `mean` and `logvar` (B, C, *box), and where each patch begins in it."""

    mean: Tensor
    logvar: Tensor
    offsets: list[tuple[int, ...]]

    @classmethod
    def of(cls, crops: Sequence[LatentCrop | None]) -> "LatentBatch | None":
        """Return the crops as a batch; None if the patches have none."""
        known = [crop for crop in crops if crop is not None]
        if not known:
            return None
        mean, logvar = (torch.stack([getattr(c, n) for c in known]) for n in ("mean", "logvar"))
        return cls(mean, logvar, [crop.offset for crop in known])

    def part(self, first: int, end: int) -> "LatentBatch":
        """Return the crops from `first` up to, but without, `end`."""
        return LatentBatch(self.mean[first:end], self.logvar[first:end], self.offsets[first:end])

    def pin_memory(self) -> "LatentBatch":
        """Return the crops in page-locked memory."""
        return LatentBatch(self.mean.pin_memory(), self.logvar.pin_memory(), self.offsets)

    def posterior(
        self, device: torch.device, memory_format: torch.memory_format
    ) -> DiagonalGaussian:
        """Return the posterior of the crops on a device."""
        mean, logvar = (
            values.to(device, non_blocking=True, memory_format=memory_format)
            for values in (self.mean, self.logvar)
        )
        return DiagonalGaussian(mean, logvar)

    def inner(self, output: VAEOutput, size: Sequence[int], factor: Sequence[int]) -> VAEOutput:
        """Return the part of an output that is of the patches themselves, of voxels (*size)."""
        corners = [
            tuple(o * f for o, f in zip(offset, factor, strict=True)) for offset in self.offsets
        ]
        latent_size = [-(-s // f) for s, f in zip(size, factor, strict=True)]
        mean, logvar, latent = (
            _cut(values, self.offsets, latent_size)
            for values in (output.posterior.mean, output.posterior.logvar, output.latent)
        )
        reconstruction = _cut(output.reconstruction, corners, size)
        return VAEOutput(reconstruction, DiagonalGaussian(mean, logvar), latent)


def _cut(batch: Tensor, corners: Sequence[tuple[int, ...]], size: Sequence[int]) -> Tensor:
    """Return the box of `size` at its own corner of each entry of a batch (B, C, *spatial)."""
    regions = [Region(corner, tuple(size)) for corner in corners]
    if len({*corners}) == 1:
        return regions[0].cut(batch)
    return torch.stack([region.cut(entry) for region, entry in zip(regions, batch, strict=True)])
