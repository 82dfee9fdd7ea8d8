"""`Region`: a box in a volume."""

from dataclasses import dataclass
from types import EllipsisType

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """A box of `size` voxels whose lowest voxel is `corner`, over the spatial axes.

    It may reach past the end of a volume that is thinner than the patch.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def slices(self) -> tuple[EllipsisType | slice, ...]:
        """The box as an index for a tensor (..., *spatial)."""
        return (..., *(slice(c, c + s) for c, s in zip(self.corner, self.size, strict=True)))

    def inside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """How many voxels of each axis lie inside a volume of this shape."""
        return tuple(
            min(c + s, n) - c for c, s, n in zip(self.corner, self.size, shape, strict=True)
        )

    def divided(self, factor: tuple[int, ...]) -> "Region":
        """The same box on a grid coarser by `factor`; corner and size must be multiples of it."""
        return Region(
            tuple(c // f for c, f in zip(self.corner, factor, strict=True)),
            tuple(s // f for s, f in zip(self.size, factor, strict=True)),
        )

    def cut(self, data: Tensor) -> Tensor:
        """What lies inside of a tensor (..., *spatial): at most (..., *size)."""
        return data[self.slices]

    def padded(self, patch: Tensor, fill: float) -> Tensor:
        """A patch that `cut` gave, filled up to (..., *size) past the volume's end."""
        missing = [s - n for s, n in zip(self.size, patch.shape[-len(self.size) :], strict=True)]
        if not any(missing):
            return patch
        # F.pad counts axes from the last one.
        return F.pad(patch, [n for m in reversed(missing) for n in (0, m)], value=fill)
