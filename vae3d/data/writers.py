"""Volumes as files, on the grid of the scan that they came from."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray

from vae3d.data.config import DTYPES, IMAGE_DTYPES
from vae3d.data.readers import scan_suffix
from vae3d.data.readers.nifti import Orientation
from vae3d.data.resample import resample_to_shape, resized_affine
from vae3d.data.volume import Volume
from vae3d.errors import VolumeError
from vae3d.runtime.files import atomic_write

# NIfTI's X, Y, Z for a volume that came from no file.
_REVERSED = Orientation(axes=(2, 1, 0), flips=(False, False, False))


def write_volume(volume: Volume, path: Path, *, dtype: str | None = None) -> None:
    """Writes a volume as .nii or .nii.gz, an image as .png or .tiff, either one as .npy.

    A volume that covers the field of view of its `source` goes back to the source's own grid:
    NIfTI in its axis order, shape and affine, the other formats in its shape. Integer types are
    rounded and clipped. `dtype` is float32 unless given; for .png uint8, or uint16 if the source
    was; `source` is that of the source's file, if this format has it. Raises VolumeError for a
    format or a dtype that cannot hold the volume.
    """
    suffix = scan_suffix(path)
    if suffix not in _WRITERS:
        raise VolumeError(path, f"has no suffix to write; use one of {', '.join(_WRITERS)}")
    spatial_dims, dtypes, write = _WRITERS[suffix]
    if len(volume.shape) not in spatial_dims:
        raise VolumeError(
            path, f"cannot hold shape {volume.shape}; use .nii.gz for 3D, .png for 2D"
        )
    kind = _default_dtype(volume, dtypes, dtype) if dtype in (None, "source") else dtype
    if kind not in dtypes:
        raise VolumeError(path, f"dtype must be one of {', '.join(dtypes)}, got {kind}")
    restored = _on_source_grid(volume)
    voxels = _converted(path, restored.data.numpy(force=True), kind)
    with atomic_write(path) as temporary:
        write(temporary, voxels, restored)


def _default_dtype(volume: Volume, dtypes: tuple[str, ...], asked: str | None) -> str:
    if "float32" in dtypes and asked != "source":
        return "float32"
    return volume.source.dtype if volume.source and volume.source.dtype in dtypes else dtypes[0]


def _on_source_grid(volume: Volume) -> Volume:
    """The volume with as many voxels as its source; one that was cut out of it stays as it is."""
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
    """Whether the volume's corners are those of the grid, to a hundredth of its voxels."""
    stretched = resized_affine(volume.affine, volume.shape, shape)
    moved = np.linalg.solve(affine, stretched) - np.eye(len(affine))
    return bool((np.abs(moved) @ np.array([*shape, 1]) < 0.01).all())


def _converted(path: Path, voxels: NDArray[Any], dtype: str) -> NDArray[Any]:
    kind: type[np.generic] = np.dtype(dtype).type
    if issubclass(kind, np.floating):
        return voxels.astype(kind)
    limits = np.iinfo(dtype)
    rounded: NDArray[Any] = np.empty(voxels.shape, kind)
    # One plane after the other, so that what lies in between takes little memory.
    for place in np.ndindex(voxels.shape[:-2]):
        plane = np.rint(voxels[place])
        if np.isnan(plane).any():
            raise VolumeError(path, f"has NaN voxels, which {dtype} cannot hold; write float32")
        rounded[place] = np.clip(plane, limits.min, limits.max)
    return rounded


def _write_nifti(path: Path, voxels: NDArray[Any], volume: Volume) -> None:
    source = volume.source
    orientation = Orientation.of(source.affine) if source else _REVERSED
    # One channel is a plain 3D file, several become the fourth axis.
    channels = [orientation.undo(channel) for channel in voxels]
    array = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
    index_map = orientation.index_map(array.shape[:3])
    affine = source.affine if source else volume.affine @ np.linalg.inv(index_map)
    kind = nibabel.Nifti1Image if max(array.shape) < 2**15 else nibabel.Nifti2Image
    image = kind(array, affine, dtype=array.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    with path.open("wb") as file:
        if path.suffix.lower() != ".gz":
            image.to_stream(file)
            return
        # No name and no time inside: the same volume gives the same bytes.
        with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
            image.to_stream(stream)


def _write_png(path: Path, voxels: NDArray[Any], volume: Volume) -> None:
    imageio.imwrite(path, _only_channel(path, voxels), extension=".png")


def _write_tiff(path: Path, voxels: NDArray[Any], volume: Volume) -> None:
    tifffile.imwrite(path, _only_channel(path, voxels))


def _write_npy(path: Path, voxels: NDArray[Any], volume: Volume) -> None:
    with path.open("wb") as file:
        np.save(file, voxels[0] if len(voxels) == 1 else voxels)


def _only_channel(path: Path, voxels: NDArray[Any]) -> NDArray[Any]:
    if len(voxels) != 1:
        raise VolumeError(path, f"must hold one channel, got {len(voxels)}; use .npy")
    image: NDArray[Any] = voxels[0]
    return image


_Writer = Callable[[Path, NDArray[Any], Volume], None]
# suffix -> spatial dims, dtypes, function
_WRITERS: dict[str, tuple[tuple[int, ...], tuple[str, ...], _Writer]] = {
    ".nii.gz": ((3,), DTYPES, _write_nifti),
    ".nii": ((3,), DTYPES, _write_nifti),
    ".png": ((2,), ("uint8", "uint16"), _write_png),
    ".tif": ((2,), IMAGE_DTYPES, _write_tiff),
    ".tiff": ((2,), IMAGE_DTYPES, _write_tiff),
    ".npy": ((2, 3), DTYPES, _write_npy),
}
