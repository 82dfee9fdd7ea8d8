"""Resample volumes to another grid over the same field of view."""

import math
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import VolumeError
from vae3d.scans.volume import Volume

MAX_GIB = 8
"""Largest resampled scan, in GiB of memory; a header with a wrong voxel size may ask for more."""


def resample_to_spacing(volume: Volume, spacing: tuple[float, ...]) -> Volume:
    """Return the volume on the grid closest to `spacing` (mm, one for each axis of `data`).

    The corners of the field of view stay in place. The number of voxels is rounded, so that the
    new spacing is close to `spacing` but rarely equal to it. Interpolation is linear in float32,
    without anti-aliasing: structures finer than the new voxels may alias. A volume that is
    already on that grid is returned as is.

    Raises:
        VolumeError: an invalid spacing, or one that would take more than MAX_GIB.
    """
    axes = len(volume.shape)
    if len(spacing) != axes or not all(0 < s < float("inf") for s in spacing):
        raise VolumeError(volume.origin, f"needs {axes} spacings above 0 mm, got {tuple(spacing)}")
    if np.allclose(volume.spacing, spacing, rtol=1e-4, atol=0):
        return volume
    pairs = zip(volume.shape, volume.spacing, spacing, strict=True)
    shape = tuple(max(1, round(n * old / new)) for n, old, new in pairs)
    if shape == volume.shape:
        return volume
    gib = 4 * len(volume.data) * math.prod(shape) / 2**30
    if gib > MAX_GIB:
        raise VolumeError(
            volume.origin,
            f"resampling from {_mm(volume.spacing)} to {_mm(spacing)} would make "
            f"{' x '.join(map(str, shape))} voxels, {gib:.3g} GiB (at most {MAX_GIB} GiB); "
            "correct its header or choose a larger data.spacing",
        )
    affine = resized_affine(volume.affine, volume.shape, shape)
    return replace(volume, data=resample_to_shape(volume.data, shape), affine=affine)


def resample_to_shape(data: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the image (C, *spatial) linearly resampled to (C, *shape), same corners, float32."""
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return F.interpolate(data[None].float(), size=shape, mode=mode, align_corners=False)[0]


def resized_affine(
    affine: NDArray[np.float64], old: tuple[int, ...], new: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the affine of a grid of shape `new` over the field of view of a grid of shape `old`.

    The centre of voxel 0 is half a voxel from the corner: it moves with the voxel's size.
    """
    factor = np.array(old) / np.array(new)
    index_map = np.diag([*factor, 1.0])
    index_map[:-1, -1] = (factor - 1) / 2
    return affine @ index_map


def _mm(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{s:.3g}" for s in spacing) + " mm"
