"""TIFF files as the arrays that a viewer shows."""

import ctypes
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, _imaging

from vae3d.errors import VolumeError
from vae3d.files.reading import check_regular
from vae3d.scans.display import (
    ORIENTATION_TAG,
    cmyk_to_rgb,
    inverted,
    palette_to_rgb,
    upright,
    with_all_grays,
)
from vae3d.scans.raster import room, shown_pixels
from vae3d.scans.voxels import check_size

# tifffile logs damaged tags to stderr, where they would hide the one error message.
logging.getLogger("tifffile").addHandler(logging.NullHandler())
# So does libtiff, whose errors Pillow also raises. Looking a name up in a library
# also looks in those that it is linked with.
_set_error_handler = getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None)
if _set_error_handler is not None:
    _set_error_handler.argtypes = [ctypes.c_void_p]
    _set_error_handler(None)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
"""Values of the tag PhotometricInterpretation that can be read."""
_INKS_TAG, _CMYK_INKS = 332, 1
_JPEG = (6, 7)
_PILLOW_BITS = {
    WHITE_IS_ZERO: (1, 2, 4, 8),
    BLACK_IS_ZERO: (1, 2, 4, 8, 12, 16),
    RGB: (8,),
    PALETTE: (1, 2, 4, 8),
    CMYK: (8,),
    YCBCR: (8,),
}
"""Bits of unsigned numbers that Pillow decodes without a loss, by photometric interpretation."""

_PILLOW_COMPRESSIONS = (1, 2, 3, 4, 5, *_JPEG, 8, 32773, 32946, 34925, 50000)
"""None, CCITT, LZW, JPEG, deflate, PackBits, LZMA and Zstandard."""


def decode_tiff(path: Path) -> tuple[NDArray[Any], bool]:
    """Return the pixels (H, W) or (H, W, n), and whether there are channels.

    Raises:
        VolumeError: it holds several images, is truncated, or has a compression or a
            photometric interpretation that cannot be read.
    """
    check_regular(path)
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page: Any = series.keyframe
        _check_one_image(path, file, series)
        _check_photometric(path, page)
        check_size(path, series.size * series.dtype.itemsize, room(path))
        _check_segments(path, page)
        try:
            stored = np.asarray(series.asarray())
        except (ValueError, NotImplementedError, ImportError) as error:
            # ImportError: Python has zstd from version 3.14 on.
            if not isinstance(error, ImportError) and "imagecodecs" not in str(error):
                raise
            pixels = _decode_with_pillow(path, page)
        else:
            if series.axes == "SYX":
                stored = np.moveaxis(stored, 0, -1)
            orientation = page.tags.valueof(ORIENTATION_TAG, 1)
            pixels = upright(_shown(path, page, stored), orientation)
    return pixels, pixels.ndim > 2


def _check_one_image(path: Path, file: tifffile.TiffFile, series: Any) -> None:
    # Smaller copies, as previews and pyramids have, are no other images.
    others = [other for other in file.series[1:] if not other.keyframe.is_reduced]
    if series.axes not in ("YX", "YXS", "SYX"):
        raise VolumeError(
            path, f"must hold one image, got shape {series.shape}; save a stack as .npy"
        )
    if others:
        shapes = " and ".join(str(other.shape) for other in (series, *others[:1]))
        raise VolumeError(
            path,
            f"must hold one image, got {len(others) + 1} of shapes {shapes}; save one a file",
        )


def _check_photometric(path: Path, page: Any) -> None:
    """Raise a VolumeError if it is not known which gray or colour a stored number is."""
    kind, numbers = int(page.photometric), page.dtype.kind
    reason = ""
    if kind not in _PILLOW_BITS:
        reason = f"stores {getattr(page.photometric, 'name', kind)} values, not gray or RGB"
    elif kind == WHITE_IS_ZERO and numbers not in "bu":
        reason = f"stores {page.dtype} values whose 0 is white, and does not state which is black"
    elif kind == PALETTE and page.colormap is None:
        reason = "has a palette without colours"
    elif kind == CMYK and (
        numbers != "u"
        or page.samplesperpixel != 4
        or page.tags.valueof(_INKS_TAG, _CMYK_INKS) != _CMYK_INKS
    ):
        reason = "stores other inks than CMYK"
    elif kind == YCBCR and page.compression not in _JPEG:
        reason = "stores YCbCr values without JPEG compression"
    if reason:
        raise VolumeError(
            path, f"{reason}; convert it: magick '{path.name}' -colorspace gray gray.tif"
        )


def _check_segments(path: Path, page: Any) -> None:
    # tifffile fills missing strips and tiles with zeros and does not report them.
    parts = [*zip(page.dataoffsets, page.databytecounts, strict=True)]
    end = path.stat().st_size
    whole = all(offset > 0 < count and offset + count <= end for offset, count in parts)
    if not whole or len(parts) != math.prod(page.chunked):
        raise VolumeError(path, "is truncated: some of its strips or tiles are missing")


def _shown(path: Path, page: Any, stored: NDArray[Any]) -> NDArray[Any]:
    """Return stored numbers as gray, gray and alpha, RGB or RGBA."""
    kind, bits = int(page.photometric), int(page.bitspersample)
    if kind == PALETTE:
        if stored.ndim > 2:
            raise VolumeError(path, "has a palette and other channels; convert it to gray")
        return palette_to_rgb(stored, page.colormap)
    if kind == CMYK:
        return cmyk_to_rgb(stored)
    if kind == WHITE_IS_ZERO:
        if stored.ndim > 2:
            raise VolumeError(path, "has several channels whose 0 is white; convert it to gray")
        stored = inverted(stored, bits)
    return with_all_grays(stored, bits) if stored.dtype.kind in "bu" else stored


def _decode_with_pillow(path: Path, page: Any) -> NDArray[Any]:
    """Return the pixels of a compressed image, upright, that tifffile alone cannot decode."""
    kind, bits = int(page.photometric), page.bitspersample
    whole = page.dtype.kind in "bu" and bits in _PILLOW_BITS[kind]
    floats = kind == BLACK_IS_ZERO and page.dtype == np.float32
    known = page.compression in _PILLOW_COMPRESSIONS and page.planarconfig == 1
    if page.compression == 1 and page.tags.valueof(ORIENTATION_TAG, 1) > 4:
        known = False  # Pillow 12 and 13 mix up the rows of these
    if not (known and (whole or floats)) or page.index != 0:
        name = getattr(page.compression, "name", page.compression)
        raise VolumeError(
            path,
            f"has {page.bitspersample}-bit {page.dtype.name} values with compression {name}; "
            "reading it needs the package imagecodecs: pip install imagecodecs",
        )
    check_regular(path)
    with Image.open(path, formats=("TIFF",)) as image:
        # Pillow turns a TIFF upright when it loads it.
        image.load()
        return shown_pixels(image)
