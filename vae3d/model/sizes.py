"""Padding and cropping of images whose size the network's factor does not divide."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cropped(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return the first `size` voxels of an image (..., *spatial) along each spatial axis."""
    for axis, length in enumerate(size, start=image.dim() - len(size)):
        image = image.narrow(axis, 0, length)
    return image


def with_edges(image: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Return (B, C, *spatial) with its outermost voxels repeated at the ends of a spatial axis."""
    axis, length = axis + 2, image.shape[axis + 2]
    parts = [image.narrow(axis, 0, 1)] * before + [image]
    parts += [image.narrow(axis, length - 1, 1)] * after
    return torch.cat(parts, dim=axis) if len(parts) > 1 else image


def pad_to_multiple(image: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Return (B, C, *spatial) padded with its last voxels to multiples of `factor`."""
    missing = [-s % f for s, f in zip(image.shape[2:], factor, strict=True)]
    if not any(missing):
        return image
    # F.pad counts axes from the last one.
    return F.pad(image, [n for m in reversed(missing) for n in (0, m)], mode="replicate")
