"""What a probe sees: a latent or a scan as a few numbers."""

import math

import torch.nn.functional as F
from torch import Tensor, cat


def pooled(latent: Tensor) -> Tensor:
    """Return the mean and the standard deviation of each channel of a latent (C, *size)."""
    values = latent.flatten(1).double()
    return cat([values.mean(1), values.std(1, correction=0)])


def on_grid(latent: Tensor, grid: int) -> Tensor:
    """Return a latent (C, *size) averaged to `grid` voxels along each axis, flat.

    The grid covers the field of view, whatever its size: latents of all sizes have as many values.
    """
    size = (grid,) * (latent.dim() - 1)
    return F.interpolate(latent[None].double(), size, mode="area").flatten()


def coarse(image: Tensor, numbers: int) -> Tensor:
    """Return an image (C, *spatial) averaged to at most `numbers` values, flat.

    The grid has equally many voxels along each axis, as that of `on_grid` has.
    """
    axes = image.dim() - 1
    side = max(1, math.floor((numbers / len(image)) ** (1 / axes) + 1e-9))
    return on_grid(image, side)
