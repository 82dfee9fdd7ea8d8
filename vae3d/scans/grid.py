"""Resample a volume to the grid of its source file and convert it to a file's dtype."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.scans.orientation import Orientation
from vae3d.scans.resample import resample_to_shape, resized_affine
from vae3d.scans.volume import Volume

SLAB_VOXELS = 2**20
"""Voxels converted in one pass, at most, unless one plane has more."""


def as_stored(path: Path, volume: Volume, dtype: str) -> Volume:
    """Return the volume on the grid of its source, if `dtype` can hold its voxels.

    A volume that covers the field of view of its source is resampled to the source's shape.

    Raises:
        VolumeError: the volume has NaN and the type is an integer.
    """
    restored = on_source_grid(volume)
    # NaN propagates to the maximum: checking it takes no memory.
    if np.dtype(dtype).kind in "iu" and np.isnan(restored.data.numpy(force=True).max()):
        raise VolumeError(path, f"has NaN voxels, which {dtype} cannot hold; write float32")
    return restored


def on_source_grid(volume: Volume) -> Volume:
    """Return the volume in the shape of its source; a crop of the source keeps its own shape."""
    if volume.source is None:
        return volume
    shape, affine = volume.source.shape, volume.source.affine
    if len(shape) == 3:
        orientation = Orientation.of(affine)
        affine = affine @ orientation.index_map(shape)
        shape = tuple(shape[axis] for axis in orientation.axes)
    if len(shape) != len(volume.shape) or not _same_field_of_view(volume, shape, affine):
        return Volume(volume.data, volume.affine, volume.case_id)
    if shape == volume.shape:
        return volume
    data = resample_to_shape(volume.data, shape)
    return Volume(data, affine, volume.case_id, volume.source)


def _same_field_of_view(
    volume: Volume, shape: tuple[int, ...], affine: NDArray[np.float64]
) -> bool:
    """Return whether volume and grid have the same corners, within a hundredth of a voxel."""
    stretched = resized_affine(volume.affine, volume.shape, shape)
    moved = np.linalg.solve(affine, stretched) - np.eye(len(affine))
    return bool((np.abs(moved) @ np.array([*shape, 1]) < 0.01).all())


def converted_slabs(voxels: NDArray[Any], dtype: str) -> Iterator[NDArray[Any]]:
    """Yield an array slab by slab along its first axis, converted and contiguous (C order).

    A file in this order is written without a second array of its size in memory.
    """
    planes = max(1, SLAB_VOXELS // max(1, math.prod(voxels.shape[1:])))
    for start in range(0, len(voxels), planes):
        yield converted(voxels[start : start + planes], dtype)


def converted(voxels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the voxels in a file's type, contiguous; integers are rounded and clipped."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.ascontiguousarray(voxels, kind)
    limits = np.iinfo(kind)
    rounded = np.rint(voxels)
    integers = np.empty(voxels.shape, kind)
    integers[...] = np.clip(rounded, limits.min, limits.max, out=rounded)
    return integers
