"""`PatchAggregator`: patches become a volume again by weighted overlap-add."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.bounds import OneOf
from vae3d.patching.config import BLENDS
from vae3d.patching.region import Region


def uniform(size: int) -> Tensor:
    """Every voxel of a patch counts the same."""
    return torch.ones(size)


def hann(size: int) -> Tensor:
    """A Hann window of size + 2 without its two zeros, so that a lone border voxel counts."""
    return torch.sin(math.pi * torch.arange(1, size + 1) / (size + 1)) ** 2


def gaussian(size: int) -> Tensor:
    """A Gaussian of sigma = size / 8 (nnU-Net's), floored so that the corners stay in range."""
    offset = torch.arange(size) - (size - 1) / 2
    return torch.exp(-0.5 * (offset / (size / 8)) ** 2).clamp(min=1e-3)


MAX_SHARES = 8
"""Shares of patches that are remembered: along a row most are alike."""


@dataclass(frozen=True)
class _Line:
    """What one axis knows of a patch: the weights of earlier starts, and of all, over its own."""

    before: Tensor
    total: Tensor


class PatchAggregator:
    """The weighted mean of the patches (C, *size) of a grid on a volume (C, *shape), in float32.

    The mean is kept up to date patch by patch (West 1979, doi:10.1145/359146.359153) instead of
    dividing sums in the end: patches that agree leave it as it is, so that stitching an image's
    own patches gives the image back to the last bit, for any blend and overlap. `regions` are all
    boxes of the grid, in the order in which they will come. As they lie on a grid, what a patch
    counts against those before it follows from its axes: no volume of weights is kept.
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
        self.waiting = [region.corner for region in reversed(regions)]
        self._axes = [
            _lines(sorted({r.corner[axis] for r in regions}), regions[0].size[axis], length, blend)
            for axis, length in enumerate(shape)
        ]
        self._shares: dict[tuple[int, ...], Tensor] = {}

    def add(self, patch: Tensor, region: Region) -> None:
        """Adds the next patch (C, *region.size); what reaches past the volume is dropped."""
        if not self.waiting or self.waiting.pop() != region.corner:
            raise RuntimeError("patches must come in the order of their grid")
        inside = Region((0,) * len(self.shape), region.inside(self.shape)).slices
        self.mean[region.slices].lerp_(patch[inside].float(), self._share(region.corner))

    def volume(self) -> Tensor:
        """The stitched volume (C, *shape).

        Raises:
            RuntimeError: some patch is missing.
        """
        if self.waiting:
            raise RuntimeError("patches do not cover the volume")
        return self.mean

    def _share(self, corner: tuple[int, ...]) -> Tensor:
        """The weight of a patch over that of all so far, itself included."""
        lines = [axis[start] for axis, start in zip(self._axes, corner, strict=True)]
        key = tuple(map(id, lines))
        if key not in self._shares:
            if len(self._shares) == MAX_SHARES:
                self._shares.clear()
            self._shares[key] = _share(lines).to(self.device)
        return self._shares[key]


def _lines(starts: list[int], size: int, length: int, blend: str) -> dict[int, _Line]:
    """The line of each start along an axis; equal ones are one object.

    Raises:
        RuntimeError: some voxel of the axis is covered by no patch.
    """
    window = BLENDS[blend](size).double()
    sums = torch.zeros(length + size, dtype=torch.float64)
    earlier = {}
    for start in starts:
        earlier[start] = sums[start : start + size].clone()
        sums[start : start + size] += window
    if not bool((sums[:length] > 0).all()):
        raise RuntimeError("patches do not cover the volume")
    known: dict[bytes, _Line] = {}
    lines = {}
    for start in starts:
        parts = (earlier[start], sums[start : start + size])
        before, total = ((part / window)[: length - start].float() for part in parts)
        same = before.numpy().tobytes() + total.numpy().tobytes()
        lines[start] = known.setdefault(same, _Line(before, total))
    return lines


def _share(lines: Sequence[_Line]) -> Tensor:
    """The share of a patch, (*size), from its lines.

    Patches come row by row: before one lie those that are earlier along the first axis, and of
    those that are not, the earlier ones along the second, and so on. Everything is kept as a
    multiple of the patch's own weight.
    """
    before, total = lines[-1].before, lines[-1].total
    for line in reversed(lines[:-1]):
        rest = (...,) + (None,) * before.dim()
        before = torch.addcmul(before, line.before[rest], total)
        total = line.total[rest] * total
    return before.add_(1).reciprocal_()
