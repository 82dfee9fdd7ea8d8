"""The planes of volumes that a 2D network sees."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae3d.runtime.seeding import torch_generator

ROUNDING = 1e-9
"""What a share of slices may miss a whole number by: 0.29 * 100 is 28.999999999999996."""


def drawn_slices(seed: int, axis: int, length: int, share: float) -> Tensor:
    """Return the numbers of a share of `length` slices along an axis, ascending, at least one.

    They are drawn from (seed, axis) alone.
    """
    count = max(1, math.floor(length * share + ROUNDING))
    generator = torch_generator(seed, "slices", axis)
    order = torch.randperm(length, generator=generator, device="cpu")
    return order[:count].sort().values


def planes(volumes: Tensor, axis: int, chosen: Sequence[Tensor]) -> Tensor:
    """Return slices of volumes (B, C, D, H, W) as images (B * n, C, *plane).

    `axis` is one of the volumes' own axes, 2 to 4, and `chosen` are the numbers of n slices along
    it for each volume.
    """
    parts = [
        volume.index_select(axis - 1, numbers.to(volume.device)).movedim(axis - 1, 0)
        for volume, numbers in zip(volumes, chosen, strict=True)
    ]
    return torch.cat(parts)


def plane_size(size: Sequence[int], axis: int) -> tuple[int, ...]:
    """Return the size of the slices along an axis, 2 to 4, of a volume of this size (D, H, W)."""
    return (*size[: axis - 2], *size[axis - 1 :])
