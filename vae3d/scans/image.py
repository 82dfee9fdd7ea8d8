"""PNG, JPEG, TIFF and NumPy files as grayscale volumes."""

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import tifffile
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.files.atomic import atomic_write
from vae3d.files.npy import map_npy
from vae3d.scans.grid import as_stored
from vae3d.scans.raster import decode_raster
from vae3d.scans.tiff import decode_tiff
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.scans.voxels import select_channel, voxels_to_tensor
from vae3d.values.file_types import converted, converted_slabs

# Voxels of 1 mm: index (d, h, w) is at (x, y, z) = (w, h, d).
UNIT_AFFINE = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)


def read_image(path: Path, *, channel: int | None, case_id: str) -> Volume:
    """Read an image (1, H, W), or a 3D array of a .npy file as (1, D, H, W), in the file's order.

    The pixels of an image are the grays that a viewer shows, upright. Colour images whose channels
    are equal are read as grayscale. Pixels are 1 mm wide.
    """
    pixels = select_channel(path, _with_channels(path), channel, "channels")
    affine = np.eye(3) if pixels.ndim == 2 else UNIT_AFFINE.copy()
    source = SourceGeometry(path, pixels.shape, affine, pixels.dtype.name)
    return Volume(voxels_to_tensor(path, pixels)[None], affine, case_id, source)


def _with_channels(path: Path) -> NDArray[Any]:
    """Return the file's array (*spatial, n) of numbers, n = 1 if all colours are equal."""
    try:
        array, has_channels = DECODERS.get(path.suffix.lower(), decode_raster)(path)
    except VolumeError:
        raise
    except Exception as error:  # decoders raise any type for a damaged file
        reason = " ".join(str(error).split())
        raise VolumeError(path, f"is damaged or not in its suffix's format ({reason})") from error
    if array.dtype.kind not in "biuf":
        raise VolumeError(path, f"holds {array.dtype} values; save integers or floats")
    if array.size == 0:
        raise VolumeError(path, f"holds no pixels (shape {array.shape})")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return _without_colour(array) if has_channels else array[..., None]


def _without_colour(array: NDArray[Any]) -> NDArray[Any]:
    """Remove a constant alpha channel, and reduce equal colour channels to one."""
    if array.shape[-1] in (2, 4) and np.ptp(array[..., -1]) == 0:
        array = array[..., :-1]
    gray = array.shape[-1] == 3 and (array == array[..., :1]).all()
    return array[..., :1] if gray else array


def _decode_npy(path: Path) -> tuple[NDArray[Any], bool]:
    array = map_npy(path)
    if array.ndim not in (2, 3, 4):
        raise VolumeError(
            path, f"must hold (H, W), (D, H, W) or (C, D, H, W), got shape {array.shape}"
        )
    return (np.moveaxis(array, 0, -1), True) if array.ndim == 4 else (array, False)


DECODERS = {".npy": _decode_npy, ".tif": decode_tiff, ".tiff": decode_tiff}
"""What returns the array, and whether its last axis is the channels; Pillow has the others."""


def write_image(path: Path, volume: Volume, dtype: str) -> None:
    """Write an image (1, H, W) as PNG or TIFF, in the shape of its source."""
    voxels = as_stored(path, volume, dtype).data.numpy(force=True)
    if len(voxels) != 1:
        raise VolumeError(path, f"must hold one channel, got {len(voxels)}; use .npy")
    pixels = converted(voxels[0], dtype)
    with atomic_write(path) as temporary:
        if path.suffix.lower() == ".png":
            imageio.imwrite(temporary, pixels, extension=".png")
        else:
            tifffile.imwrite(temporary, pixels)


def write_npy(path: Path, volume: Volume, dtype: str) -> None:
    """Write an array (*spatial), or (C, *spatial) if there are several channels, slab by slab."""
    channels = as_stored(path, volume, dtype).data.numpy(force=True)
    shape = channels.shape if len(channels) > 1 else channels.shape[1:]
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, description)
        for channel in channels:
            for slab in converted_slabs(channel, dtype):
                file.write(slab.data)
