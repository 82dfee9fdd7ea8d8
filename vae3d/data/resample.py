"""Volumes on another grid over the same field of view."""

from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.volume import Volume
from vae3d.errors import VolumeError


def resample_to_spacing(volume: Volume, spacing: tuple[float, ...]) -> Volume:
    """The volume on the grid whose voxels come closest to `spacing` (mm, per axis of `data`).

    The corners of the field of view stay where they are, so that a voxel is as large as a whole
    number of them allows. The result is linear and float32, without anti-aliasing: structures
    finer than the new voxels may alias. A volume that is on that grid already is returned as is.
    """
    _check_spacing(volume, spacing)
    if np.allclose(volume.spacing, spacing, rtol=1e-4, atol=0):
        return volume
    pairs = zip(volume.shape, volume.spacing, spacing, strict=True)
    shape = tuple(max(1, round(n * old / new)) for n, old, new in pairs)
    if shape == volume.shape:
        return volume
    affine = resized_affine(volume.affine, volume.shape, shape)
    return replace(volume, data=resample_to_shape(volume.data, shape), affine=affine)


def resample_to_shape(data: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The image (C, *spatial) linearly resampled to (C, *shape), corner to corner, float32."""
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return F.interpolate(data[None].float(), size=shape, mode=mode, align_corners=False)[0]


def resized_affine(
    affine: NDArray[np.float64], old: tuple[int, ...], new: tuple[int, ...]
) -> NDArray[np.float64]:
    """The affine of a grid of shape `new` over the field of view of a grid of shape `old`.

    Voxel 0 ends half a voxel after the corner: its centre moves with the voxel's size.
    """
    factor = np.array(old) / np.array(new)
    index_map = np.diag([*factor, 1.0])
    index_map[:-1, -1] = (factor - 1) / 2
    return affine @ index_map


def _check_spacing(volume: Volume, spacing: tuple[float, ...]) -> None:
    axes = len(volume.shape)
    if len(spacing) != axes or not all(0 < s < float("inf") for s in spacing):
        path = volume.source.path if volume.source else volume.case_id
        raise VolumeError(path, f"needs {axes} spacings above 0 mm, got {tuple(spacing)}")
