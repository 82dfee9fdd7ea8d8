"""`Region`: a box in a volume."""

from dataclasses import dataclass
from types import EllipsisType

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Region:
    """A box of `size` voxels along the spatial axes; `corner` is its first voxel.

    It may extend past the end of a volume that is smaller than the patch.
    """

    corner: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def slices(self) -> tuple[EllipsisType | slice, ...]:
        """The box as an index for a tensor (..., *spatial)."""
        return (..., *(slice(c, c + s) for c, s in zip(self.corner, self.size, strict=True)))

    def inside(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of voxels along each axis inside a volume of this shape."""
        return tuple(
            min(c + s, n) - c for c, s, n in zip(self.corner, self.size, shape, strict=True)
        )

    def divided(self, factor: tuple[int, ...]) -> "Region":
        """Return the box on a grid coarser by `factor`, which must divide corner and size."""
        return Region(
            tuple(c // f for c, f in zip(self.corner, factor, strict=True)),
            tuple(s // f for s, f in zip(self.size, factor, strict=True)),
        )

    def cut(self, data: Tensor) -> Tensor:
        """Return the part of a tensor (..., *spatial) inside the box: at most (..., *size)."""
        return data[self.slices]

    def padded(self, patch: Tensor, fill: float) -> Tensor:
        """Return a patch from `cut`, padded with `fill` at the end to (..., *size)."""
        missing = [s - n for s, n in zip(self.size, patch.shape[-len(self.size) :], strict=True)]
        if not any(missing):
            return patch
        # F.pad counts axes from the last one.
        return F.pad(patch, [n for m in reversed(missing) for n in (0, m)], value=fill)
