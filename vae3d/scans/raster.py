"""PNG and JPEG files as the arrays that a viewer shows."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae3d.errors import VolumeError
from vae3d.files.reading import check_regular, open_regular
from vae3d.scans.display import ORIENTATION_TAG, cmyk_to_rgb, upright
from vae3d.scans.png import check_chunks
from vae3d.scans.voxels import check_size

PILLOW_FORMATS = ("PNG", "JPEG")
"""The only formats that Pillow may decode, whatever the suffix: it would pass an EPS file to
Ghostscript, which executes it."""
_PNG_DEPTH, _PNG_COLOUR = 24, 25
"""Offsets of the bit depth and of the colour type in a PNG file."""


def decode_raster(path: Path) -> tuple[NDArray[Any], bool]:
    """Return the pixels (H, W) or (H, W, n), and whether there are channels.

    Raises:
        VolumeError: a checksum is wrong, it is an animation, or Pillow would reduce it to 8 bits.
    """
    check_regular(path)
    with Image.open(path, formats=PILLOW_FORMATS) as image:
        if image.format == "PNG":
            _check_png(path, image)
        # Pillow decodes to at most 4 bytes a number.
        check_size(path, 4 * math.prod(image.size) * len(image.getbands()), room(path))
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
        pixels = shown_pixels(image)
    return upright(pixels, orientation), pixels.ndim > 2


def shown_pixels(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of an opened image: gray, gray and alpha, RGB or RGBA.

    Palettes are looked up, inks become colours, and black and white are 0 and 255.
    """
    if image.mode == "CMYK":
        return cmyk_to_rgb(np.asarray(image))
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if "transparency" in image.info and image.mode in ("L", "RGB"):
        return np.asarray(image.convert("LA" if image.mode == "L" else "RGBA"))
    return np.asarray(image)


def room(path: Path) -> int:
    """Return the most decoded bytes to accept of an image file, 4096 to a byte on disk."""
    return 4096 * path.stat().st_size + 2**20


def _check_png(path: Path, image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise VolumeError(path, "is an animation; save one image")
    with open_regular(path) as file:
        try:
            check_chunks(file)
        except ValueError as error:
            raise VolumeError(path, f"is damaged ({error}); copy it again") from error
        file.seek(0)
        header = file.read(_PNG_COLOUR + 1)
    if header[_PNG_DEPTH] == 16 and header[_PNG_COLOUR] != 0:
        raise VolumeError(
            path,
            "is a PNG with 16 bits and colour or alpha, of which only 8 bits can be read; "
            f"convert it to gray: magick '{path.name}' -alpha off -colorspace gray gray.png",
        )
