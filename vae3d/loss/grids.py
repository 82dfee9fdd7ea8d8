"""`GridChange`: a latent grid and its image, cut, flipped, turned and scaled together."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae3d.loss.config import EquivarianceSpec
from vae3d.patching.region import Region


@dataclass(frozen=True)
class GridChange:
    """A box of a latent grid that is flipped, turned and then scaled.

    `flips` are spatial axes. `turn` is two of them and a number of quarter turns, as in
    `torch.rot90`; None turns nothing. `size` is that of the result, in latent voxels.
    """

    box: Region
    flips: tuple[int, ...]
    turn: tuple[int, int, int] | None
    size: tuple[int, ...]

    def of(self, grid: Tensor, unit: Sequence[int]) -> Tensor:
        """Return the changed grid (C, *spatial): of the latent, or of its image.

        `unit` is the number of its voxels in a latent voxel along each axis. A plane that is
        turned has the same unit along both axes.
        """
        dims = len(unit)
        corner, size = (
            tuple(n * u for n, u in zip(numbers, unit, strict=True))
            for numbers in (self.box.corner, self.box.size)
        )
        grid = Region(corner, size).cut(grid)
        if self.flips:
            grid = grid.flip([axis - dims for axis in self.flips])
        if self.turn is not None:
            first, second, quarters = self.turn
            grid = torch.rot90(grid, quarters, (first - dims, second - dims))
        return resampled(grid, [n * u for n, u in zip(self.size, unit, strict=True)])


def draw_change(
    spec: EquivarianceSpec,
    cells: Sequence[int],
    axes: Sequence[int],
    planes: Sequence[tuple[int, int]],
    generator: np.random.Generator,
) -> GridChange:
    """Draw the change of a grid of `cells` latent voxels along each axis.

    `axes` are those that may be flipped, `planes` the pairs of axes that may be turned.
    """
    shifts = [min(spec.shift, n - 1) for n in cells]
    corner = tuple(int(generator.integers(shift + 1)) for shift in shifts)
    size = [n - shift for n, shift in zip(cells, shifts, strict=True)]
    box = Region(corner, tuple(size))
    flips = tuple(axis for axis in axes if spec.flips and generator.integers(2))
    turn = None
    if spec.turns and planes:
        first, second = planes[int(generator.integers(len(planes)))]
        quarters = int(generator.integers(4))
        turn = (first, second, quarters) if quarters else None
        if quarters % 2:
            size[first], size[second] = size[second], size[first]
    scale = generator.uniform(spec.min_scale, 1)
    return GridChange(box, flips, turn, tuple(max(1, round(scale * n)) for n in size))


def planes_of(factor: Sequence[int], spacing: Sequence[float] | None) -> list[tuple[int, int]]:
    """Return the pairs of axes that a quarter turn may exchange.

    `factor` is the model's, `spacing` that of all scans in millimetres, None if scans keep their
    own: then only the last two axes count as equal, those of a slice.
    """
    dims = len(factor)
    sides = (*([0.0] * (dims - 2)), 1.0, 1.0) if spacing is None else tuple(spacing)[-dims:]
    return [
        (first, second)
        for second in range(dims)
        for first in range(second)
        if factor[first] == factor[second]
        and sides[first] == sides[second]
        and (spacing is not None or first >= dims - 2)
    ]


def resampled(grid: Tensor, size: Sequence[int]) -> Tensor:
    """Return a grid (..., *spatial) scaled to a size that is not larger, (..., *size).

    Axis by axis with a triangular filter as wide as two voxels of the result, so that nothing
    aliases; in two dimensions this is `interpolate` of torch with `bilinear` and `antialias`.
    """
    for axis, length in enumerate(size, start=grid.dim() - len(size)):
        if grid.shape[axis] != length:
            weights = _triangles(grid.shape[axis], length, grid.device).to(grid.dtype)
            grid = (grid.movedim(axis, -1) @ weights).movedim(-1, axis)
    return grid


@functools.lru_cache(maxsize=256)
def _triangles(source: int, target: int, device: torch.device) -> Tensor:
    """Return the weights (source, target) of the voxels of a row in those of a shorter row."""
    scale = source / target
    centres = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    voxels = torch.arange(source, dtype=torch.float64)[:, None] + 0.5
    weights = (1 - (voxels - centres).abs() / scale).clamp(min=0)
    return (weights / weights.sum(dim=0)).float().to(device)
