"""PNG, JPEG, TIFF and NumPy files as grayscale volumes, and what every reader does to voxels."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vae3d.data.volume import SourceGeometry, Volume
from vae3d.errors import VolumeError

MAX_DECODED_BYTES = 8 * 2**30
PILLOW_FORMATS = ("PNG", "JPEG")
"""Nothing else, whatever the suffix: Pillow hands an EPS file to Ghostscript, which runs it."""

# What tifffile logs about damaged tags would stand on stderr beside the one line that matters.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Voxels of 1 mm: index (d, h, w) lies at (x, y, z) = (w, h, d).
UNIT_AFFINE = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)


def read_image(path: Path, *, channel: int | None, case_id: str) -> Volume:
    """Reads an image (1, H, W), or a 3D array of a .npy file as (1, D, H, W), in the file's order.

    Colour images whose channels are equal count as gray. Pixels are 1 mm wide.
    """
    pixels = select_channel(path, _with_channels(path), channel, "channels")
    affine = np.eye(3) if pixels.ndim == 2 else UNIT_AFFINE.copy()
    source = SourceGeometry(path, pixels.shape, affine, pixels.dtype.name)
    return Volume(voxels_to_tensor(path, pixels)[None], affine, case_id, source)


def select_channel(
    path: Path, images: NDArray[Any], channel: int | None, kind: str
) -> NDArray[Any]:
    """The image (*spatial) that `channel` names in an array (*spatial, n); one needs no name."""
    count = images.shape[-1]
    if channel is None and count > 1:
        raise VolumeError(
            path,
            f"has shape {images.shape[:-1]} with {count} {kind}, one is needed; "
            f"choose it with data.channel=K, K from 0 to {count - 1}",
        )
    if not 0 <= (channel or 0) < count:
        raise VolumeError(path, f"data.channel must be from 0 to {count - 1}, got {channel}")
    return images[..., channel or 0]


def voxels_to_tensor(
    path: Path, voxels: NDArray[Any], slope: float = 1.0, intercept: float = 0.0
) -> Tensor:
    """`slope * voxels + intercept`: int16 where these are integers that fit, else float32.

    Raises VolumeError if a finite number becomes an infinite one.
    """
    kind = np.int16 if _fit_int16(voxels, slope, intercept) else np.float32
    result = np.empty(voxels.shape, kind)
    wide = np.promote_types(voxels.dtype, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # One slice after the other, so that the wide numbers in between take little memory.
        for target, plane in zip(result, voxels, strict=True):
            target[...] = plane.astype(wide) * slope + intercept
            if kind is np.float32 and (np.isinf(target) & np.isfinite(plane)).any():
                raise VolumeError(path, "has values beyond 3.4e38, the end of float32; rescale it")
    return torch.from_numpy(result)


def _fit_int16(voxels: NDArray[Any], slope: float, intercept: float) -> bool:
    if voxels.dtype.kind not in "iub" or slope % 1 or intercept % 1:
        return False
    ends = [int(v) * int(slope) + int(intercept) for v in (voxels.min(), voxels.max())]
    limits = np.iinfo(np.int16)
    return limits.min <= min(ends) and max(ends) <= limits.max


def _with_channels(path: Path) -> NDArray[Any]:
    """The file's array (*spatial, n) of numbers, n = 1 for everything that is really gray."""
    try:
        array, has_channels = _decode(path)
    except VolumeError:
        raise
    except Exception as error:  # decoders of damaged files raise whatever they stumble over
        reason = " ".join(str(error).split())
        raise VolumeError(path, f"is damaged or not what its suffix says ({reason})") from error
    if array.dtype.kind not in "biuf":
        raise VolumeError(path, f"holds {array.dtype} values; save integers or floats")
    if array.size == 0:
        raise VolumeError(path, f"holds no pixels (shape {array.shape})")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    return _without_colour(array) if has_channels else array[..., None]


def _without_colour(array: NDArray[Any]) -> NDArray[Any]:
    """Drops an alpha channel that is the same everywhere, and colours that are all alike."""
    if array.shape[-1] in (2, 4) and np.ptp(array[..., -1]) == 0:
        array = array[..., :-1]
    gray = array.shape[-1] == 3 and (array == array[..., :1]).all()
    return array[..., :1] if gray else array


def _decode(path: Path) -> tuple[NDArray[Any], bool]:
    """The array and whether its last axis counts channels."""
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _decode_npy(path)
    if suffix in (".tif", ".tiff"):
        return _decode_tiff(path)
    return _decode_pillow(path)


def _decode_pillow(path: Path) -> tuple[NDArray[Any], bool]:
    with Image.open(path, formats=PILLOW_FORMATS) as image:
        if image.format == "PNG" and getattr(image, "is_animated", False):
            raise VolumeError(path, "is an animation; save one image")
        # Four bytes for each number: Pillow decodes to no wider ones.
        check_size(path, 4 * math.prod(image.size) * len(image.getbands()), _room(path))
        palette = image.palette
        gray_or_colour = image.convert(palette.mode) if image.mode == "P" and palette else image
        pixels = np.asarray(gray_or_colour)
    return pixels, pixels.ndim > 2


def _room(path: Path) -> int:
    """The most bytes that an image file can hold: one that packs tighter says nothing."""
    return 4096 * path.stat().st_size + 2**20


def check_size(path: Path, promised: int, room: int) -> None:
    """Before memory is taken: raises VolumeError where the file cannot hold what it promises."""
    if promised > room:
        raise VolumeError(
            path,
            f"is truncated: its header promises {promised} bytes, the file holds "
            f"at most {room}; copy it again",
        )
    if promised > MAX_DECODED_BYTES:
        gib = promised / 2**30
        raise VolumeError(path, f"holds {gib:.1f} GiB, the limit is 8; crop or split it")


def _decode_npy(path: Path) -> tuple[NDArray[Any], bool]:
    # A memory map of a file that is shorter than its header says fails before memory is taken.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3, 4):
        shape = getattr(array, "shape", "none")
        raise VolumeError(path, f"must hold (H, W), (D, H, W) or (C, D, H, W), got shape {shape}")
    return (np.moveaxis(array, 0, -1), True) if array.ndim == 4 else (array, False)


def _decode_tiff(path: Path) -> tuple[NDArray[Any], bool]:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        if series.axes not in ("YX", "YXS"):
            raise VolumeError(
                path,
                f"must hold one image, got shape {series.shape}; save a stack as .npy",
            )
        check_size(path, series.size * series.dtype.itemsize, _room(path))
        _check_segments(path, series.keyframe)
        return np.asarray(series.asarray()), series.axes == "YXS"


def _check_segments(path: Path, page: Any) -> None:
    # tifffile makes zeros of strips and tiles that are not there.
    parts = [*zip(page.dataoffsets, page.databytecounts, strict=True)]
    end = path.stat().st_size
    whole = all(offset > 0 < count and offset + count <= end for offset, count in parts)
    if not whole or len(parts) != math.prod(page.chunked):
        raise VolumeError(path, "is truncated: some of its strips or tiles are missing")
