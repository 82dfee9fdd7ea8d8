"""`PatchAggregator`: stitches patches into a volume by weighted overlap-add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.bounds import OneOf
from vae3d.patching.config import BLENDS
from vae3d.patching.region import Region


def uniform(size: int) -> Tensor:
    """Return equal weights for all voxels."""
    return torch.ones(size)


def hann(size: int) -> Tensor:
    """Return a Hann window of size + 2 without its two zeros, so that border voxels count."""
    return torch.sin(math.pi * torch.arange(1, size + 1) / (size + 1)) ** 2


def gaussian(size: int) -> Tensor:
    """Return a Gaussian of sigma = size / 8, as nnU-Net does, clamped from below at 1e-3.

    The bound limits the range of the weights, which are products over the axes.
    """
    offset = torch.arange(size) - (size - 1) / 2
    return torch.exp(-0.5 * (offset / (size / 8)) ** 2).clamp(min=1e-3)


MAX_SHARES = 8
"""Shares of patches that are cached: along a row most are equal."""


@dataclass(frozen=True)
class _AxisWeights:
    """The weights of earlier patches and of all patches along one axis, over a patch's own."""

    before: Tensor
    total: Tensor


class PatchAggregator:
    """The weighted mean of the patches (C, *size) of a grid on a volume (C, *shape), in float32.

    The mean is updated with each patch (West 1979, doi:10.1145/359146.359153) instead of dividing
    sums at the end. Patches that agree leave it unchanged, so that stitching an image's own
    patches returns the bit-identical image, for any blend and overlap.

    `regions` are all boxes of the grid, in the order in which the patches will be added. Since
    they form a grid, the weight of a patch relative to earlier patches follows from its axes, and
    no volume of weights is kept.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        channels: int,
        shape: tuple[int, ...],
        blend: str = "hann",
        device: torch.device | str = "cpu",
    ) -> None:
        OneOf(of=BLENDS).checked(blend, "evaluation.inference.blend")
        self.shape = shape
        self.device = device
        self.mean = torch.zeros(channels, *shape, device=device)
        self._corners = [region.corner for region in reversed(regions)]
        self._axes = [
            _axis_weights(
                sorted({r.corner[axis] for r in regions}), regions[0].size[axis], length, blend
            )
            for axis, length in enumerate(shape)
        ]
        self._shares: dict[tuple[int, ...], Tensor] = {}

    def add(self, patch: Tensor, region: Region) -> None:
        """Add the next patch (C, *region.size), without its voxels past the volume's end."""
        if not self._corners or self._corners.pop() != region.corner:
            raise RuntimeError("patches must be added in the order of their grid")
        inside = Region((0,) * len(self.shape), region.inside(self.shape)).slices
        self.mean[region.slices].lerp_(patch[inside].float(), self._share(region.corner))

    def volume(self) -> Tensor:
        """Return the stitched volume (C, *shape).

        Raises:
            RuntimeError: a patch is missing.
        """
        if self._corners:
            raise RuntimeError("patches do not cover the volume")
        return self.mean

    def _share(self, corner: tuple[int, ...]) -> Tensor:
        """Return a patch's weight over the sum of the weights so far, its own included."""
        weights = [axis[start] for axis, start in zip(self._axes, corner, strict=True)]
        # Equal weights of an axis are one object, so that identity is a cheap key.
        key = tuple(map(id, weights))
        if key not in self._shares:
            if len(self._shares) == MAX_SHARES:
                self._shares.clear()
            self._shares[key] = _share(weights).to(self.device)
        return self._shares[key]


def _axis_weights(
    starts: list[int], size: int, length: int, blend: str
) -> dict[int, _AxisWeights]:
    """Return the weights of each start along an axis; equal ones are one object.

    Raises:
        RuntimeError: no patch covers some voxel of the axis.
    """
    window = BLENDS[blend](size).double()
    sums = torch.zeros(length + size, dtype=torch.float64)
    earlier = {}
    for start in starts:
        earlier[start] = sums[start : start + size].clone()
        sums[start : start + size] += window
    if not bool((sums[:length] > 0).all()):
        raise RuntimeError("patches do not cover the volume")
    unique: dict[bytes, _AxisWeights] = {}
    weights = {}
    for start in starts:
        parts = (earlier[start], sums[start : start + size])
        before, total = ((part / window)[: length - start].float() for part in parts)
        content = before.numpy().tobytes() + total.numpy().tobytes()
        weights[start] = unique.setdefault(content, _AxisWeights(before, total))
    return weights


def _share(axes: Sequence[_AxisWeights]) -> Tensor:
    """Return the share of a patch, (*size), from its weights along each axis.

    Patches are added row by row. Earlier patches are those that start earlier along the first axis
    and, among those that start equally, those that start earlier along the second, and so on. All
    weights are multiples of the patch's own weight.
    """
    before, total = axes[-1].before, axes[-1].total
    for axis in reversed(axes[:-1]):
        rest = (...,) + (None,) * before.dim()
        before = torch.addcmul(before, axis.before[rest], total)
        total = axis.total[rest] * total
    return before.add_(1).reciprocal_()
