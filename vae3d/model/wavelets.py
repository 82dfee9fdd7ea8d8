"""Wavelets over folded images: blocks of two voxels become a coarse image and its details."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vae3d.model.config import VAEConfig
from vae3d.model.sizes import with_edges

STEPS = {"haar": ((1, 0, -1.0), (0, 0, 0.5)), "cdf53": ((1, 1, -0.5), (0, -1, 0.25))}
"""The lifting steps of each wavelet: which voxel of a pair changes, the neighbouring pair that
takes part besides its own, and the weight of their other voxels."""


class LiftingStep(nn.Module):
    """One step of a lifting scheme along one axis of a folded image.

    To the voxel `target` (0 or 1) of each pair it adds `weight` times the other voxel of the
    pair, and of the next (`neighbour` 1) or previous pair (-1); 0 takes the pair alone. At the
    border the outermost pair is its own neighbour, a symmetric extension of the image. The other
    voxels do not change, so that the step with the opposite weight is its exact inverse
    (Daubechies and Sweldens 1998, J. Fourier Anal. Appl. 4:247).
    """

    def __init__(
        self, patches: tuple[int, ...], axis: int, target: int, neighbour: int, weight: float
    ) -> None:
        super().__init__()
        self.patches = patches
        self.axis = axis
        self.target = target
        self.neighbour = neighbour
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """Map folded images (B, C * prod(patches), *cells) to the same shape."""
        before, after = max(0, -self.neighbour), max(0, self.neighbour)
        return self.within(with_edges(x, self.axis, before, after))

    def within(self, x: Tensor) -> Tensor:
        """Map cells to those that have their neighbour among them."""
        axis, count = self.axis - len(self.patches), abs(self.neighbour)
        cells = x.shape[axis] - count
        own = self._pairs(x.narrow(axis, max(0, -self.neighbour), cells))
        pair = [*own.unbind(2)]
        change = pair[1 - self.target]
        if count:
            other = self._pairs(x.narrow(axis, max(0, self.neighbour), cells))
            change = change + other.select(2, 1 - self.target)
        pair[self.target] = pair[self.target] + self.weight * change
        return torch.stack(pair, dim=2).flatten(1, 3)

    def _pairs(self, x: Tensor) -> Tensor:
        """Return (B, blocks, 2, rest, *cells): the voxels of pairs along the axis."""
        rest = math.prod(self.patches[self.axis + 1 :])
        return x.reshape(x.shape[0], -1, 2, rest, *x.shape[2:])


def folding(config: VAEConfig) -> nn.Module:
    """Return the transform of folded images before an encoder; an identity for blocks."""
    if config.folding == "blocks":
        return nn.Identity()
    return wavelet(config.folding, config.patches)


def unfolding(config: VAEConfig) -> nn.Module:
    """Return the inverse of `folding`, behind a decoder."""
    if config.folding == "blocks":
        return nn.Identity()
    return wavelet(config.folding, config.patches, inverse=True)


def wavelet(kind: str, patches: Sequence[int], inverse: bool = False) -> nn.Module:
    """Return the transform named `kind` in STEPS of folded images, or its inverse.

    `patches` are the voxels of a block along each axis, 1 or 2. The first voxel of a block becomes
    the coarse image, the others become its details. `haar` (Haar 1910) takes means and differences
    of pairs. `cdf53` (Le Gall and Tabatabai 1988, the reversible filter of JPEG 2000) overlaps
    neighbouring blocks: without details its inverse is linear interpolation.
    """
    axes = [axis for axis, side in enumerate(patches) if side > 1]
    steps = [
        LiftingStep(tuple(patches), axis, target, neighbour, -weight if inverse else weight)
        for axis, (target, neighbour, weight) in itertools.product(axes, STEPS[kind])
    ]
    return nn.Sequential(*(reversed(steps) if inverse else steps))
