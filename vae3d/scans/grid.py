"""Resample a volume to the grid of its source file."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.scans.orientation import Orientation
from vae3d.scans.resample import resample_to_shape, resized_affine
from vae3d.scans.volume import Volume


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
