"""Bit depths of image files, from their headers, and the window that follows from them."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tifffile

from vae3d.errors import DataError, VolumeError
from vae3d.files.npy import map_npy
from vae3d.files.reading import check_regular, open_regular
from vae3d.runtime.messages import counted
from vae3d.scans.files import read_volume

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_DEPTH = 24
_PALETTE = 3
READERS = 8
"""Headers that are read concurrently: on a network each waits for the server."""


def depth_window(paths: Sequence[Path]) -> tuple[tuple[float, float], str]:
    """Return the window [0, 2^bits - 1] of images of one bit depth, and a sentence on it.

    Files whose header cannot be read do not count: reading them raises the error.

    Raises:
        DataError: the images have several bit depths, or signed or floating-point numbers.
    """
    with ThreadPoolExecutor(READERS) as pool:
        kinds = [*pool.map(number_type, paths)]
    by_kind: dict[str, list[Path]] = defaultdict(list)
    for path, kind in zip(paths, kinds, strict=True):
        if kind is not None:
            by_kind[kind].append(path)
    if len(by_kind) > 1:
        most_first = sorted(by_kind.items(), key=lambda item: -len(item[1]))
        counts = ", ".join(f"{len(of)} of {kind} ({of[0].name})" for kind, of in most_first)
        raise DataError(
            f"data.window: the images have several number types: {counts}; convert them to one, "
            "set data.window=[low,high] for all, or choose some with data.include"
        )
    kind, of = next(iter(by_kind.items()), ("8 bits", paths))
    bits, word, _ = kind.partition(" bit")
    if not word:
        raise DataError(
            f"data.window: {of[0].name} {_values(of[0])}, and {kind} has no bit depth to take a "
            "window from; set data.window=[low,high]"
        )
    high = 2.0 ** int(bits) - 1
    return (0.0, high), f"data.window=[0,{high:g}], from the {kind} of {counted(len(of), 'image')}"


def _values(path: Path) -> str:
    try:
        low, high = read_volume(path).data.aminmax()
    except VolumeError:
        return "has values of any size"
    return f"has values from {low.item():g} to {high.item():g}"


def number_type(path: Path) -> str | None:
    """Return `8 bits` and the like, or the name of a type that has no range of grays.

    None is a file that is no image, or whose header cannot be read.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return _numpy_type(map_npy(path))
        if suffix in (".tif", ".tiff"):
            check_regular(path)
            with tifffile.TiffFile(path) as file:
                return _tiff_type(file.series[0].keyframe)
        with open_regular(path) as content:
            return _raster_type(content.read(_PNG_DEPTH + 2))
    except Exception:  # decoders raise any type for a damaged file
        return None


def _raster_type(header: bytes) -> str | None:
    if header.startswith(JPEG_SIGNATURE):
        return "8 bits"
    if not header.startswith(PNG_SIGNATURE):
        return None
    depth, colour = header[_PNG_DEPTH], header[_PNG_DEPTH + 1]
    return "8 bits" if colour == _PALETTE else _bits(depth)


def _numpy_type(array: Any) -> str | None:
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3):
        return None
    if array.dtype.kind == "b":
        return "1 bit"
    return _bits(8 * array.itemsize) if array.dtype.kind == "u" else str(array.dtype.name)


def _tiff_type(page: Any) -> str | None:
    if page.photometric == _PALETTE:
        return "8 bits"
    if page.dtype.kind not in "biuf":
        return None
    return _bits(page.bitspersample) if page.dtype.kind in "bu" else str(page.dtype.name)


def _bits(bits: int) -> str:
    """Return the depth that grays of a file have when they are read."""
    return f"uint{bits}" if bits > 16 else f"{max(bits, 8)} bits"
