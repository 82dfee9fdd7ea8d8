"""Stored numbers of an image as the gray or colour that a viewer shows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ORIENTATION_TAG = 274
"""The tag of EXIF and TIFF that states where the first row and column of an image are shown."""
_TRANSPOSED = {5, 6, 7, 8}
_ROWS_FROM_BELOW = {3, 4, 7, 8}
_COLUMNS_FROM_RIGHT = {2, 3, 6, 7}


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return an image (H, W) or (H, W, n) as its orientation tag, 1 to 8, asks for.

    Other numbers are no orientation, and viewers ignore them.
    """
    if orientation in _TRANSPOSED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in _ROWS_FROM_BELOW:
        pixels = pixels[::-1]
    if orientation in _COLUMNS_FROM_RIGHT:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def with_all_grays(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return grays of less than 8 bits as uint8 from 0 to 255, other grays as they are."""
    if bits >= 8:
        return pixels
    scaled: NDArray[Any] = np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8)
    return scaled


def inverted(pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    """Return unsigned grays of `bits` bits whose 0 is white as grays whose 0 is black."""
    if pixels.dtype.kind == "b":
        return ~pixels
    grays: NDArray[Any] = (2**bits - 1 - pixels.astype(np.int64)).astype(pixels.dtype)
    return grays


def cmyk_to_rgb(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the inks (H, W, 4) of a print, 0 for none, as red, green and blue (H, W, 3)."""
    top = np.iinfo(pixels.dtype).max
    light = top - pixels.astype(np.int64)
    product = light[..., :3] * light[..., 3:]
    return ((product + top // 2) // top).astype(pixels.dtype)


def palette_to_rgb(pixels: NDArray[Any], palette: NDArray[np.uint16]) -> NDArray[Any]:
    """Return the colours (H, W, 3), uint8, of a TIFF palette (3, n) of 16-bit colours."""
    # Some programs wrote palettes of 8-bit colours, as libtiff also assumes.
    colours = palette >> 8 if palette.max() > 255 else palette
    chosen: NDArray[Any] = colours.astype(np.uint8).T[pixels]
    return chosen
