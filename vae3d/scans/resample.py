"""Resample volumes to another grid over the same field of view."""

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import VolumeError
from vae3d.runtime.choices import RESAMPLINGS
from vae3d.scans.volume import Volume

MAX_GIB = 8
"""Largest resampled scan, in GiB of memory; a header with a wrong voxel size may ask for more."""


def resample_to_spacing(
    volume: Volume, spacing: tuple[float, ...], resampling: str = RESAMPLINGS[-1]
) -> Volume:
    """Return the volume on the grid closest to `spacing` (mm, one for each axis of `data`).

    The corners of the field of view stay in place. The number of voxels is rounded, so that the
    new spacing is close to `spacing` but rarely equal to it. A volume that is already on that grid
    is returned as is, others are float32.

    With `filtered` a new voxel that is longer than the old ones has the mean over its length, so
    that noise decreases and structures finer than the new voxels are removed; along the other
    axes interpolation is linear. With `linear` it is linear along all axes, and fine structures
    may alias.

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
    data = volume.data if resampling == "linear" else averaged(volume.data, shape)
    return replace(volume, data=resample_to_shape(data, shape), affine=affine)


def averaged(data: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the image (C, *spatial) with its longer axes shortened to those of `shape`.

    Each new voxel is the mean over its length of the image, which is constant within an old voxel:
    a box filter as wide as the new voxel, as thick slices are acquired. Constants and the mean of
    the image are exact up to the rounding of float32, no value is outside of the old ones, and
    structures move by at most a twelfth of an old voxel (not at all for whole factors). An axis is
    computed in float64, one plane of the result at a time.
    """
    for axis, (old, new) in enumerate(zip(data.shape[1:], shape, strict=True), start=1):
        if new < old:
            planes = [_mean_of_planes(data, axis, old, new, index) for index in range(new)]
            data = torch.stack(planes, axis)
    return data


def _mean_of_planes(data: Tensor, axis: int, old: int, new: int, index: int) -> Tensor:
    """Return the mean over the length of voxel `index` of `new` along an axis of `old` voxels."""
    # Lengths in units of 1 / new of an old voxel are whole numbers: the weights are exact.
    start, stop = index * old, (index + 1) * old
    first, last = start // new, -(-stop // new)
    ends = torch.arange(first, last + 1, dtype=torch.float64) * new
    lengths = ends.clamp(start, stop).diff()
    planes = data.narrow(axis, first, last - first).double()
    mean: Tensor = torch.tensordot(planes, lengths, ([axis], [0])) / old
    return mean.float()


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
