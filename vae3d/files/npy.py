"""Arrays of `.npy` files as memory maps, after their header was compared with the file."""

import math
import os
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae3d.files.reading import open_regular, reason_of
from vae3d.system.maps import map_array

MAX_AXES = 8
"""Most axes of an array; scans and samples have up to 5."""
_MAX_HEADER_BYTES = 10_000
"""Largest header that numpy parses; a longer one could exhaust the parser."""
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def open_npy(path: Path) -> tuple[NDArray[Any], BufferedReader]:
    """Return a memory map of the array, and the file, positioned behind it, to close.

    Raises:
        OSError: as `open_regular`.
        ValueError: it is no array, or its shape does not fit into the file.
    """
    file = open_regular(path)
    try:
        shape, fortran, dtype = _header(file)
        offset, size = file.tell(), math.prod(shape) * dtype.itemsize
        if offset + size > (held := os.fstat(file.fileno()).st_size):
            raise ValueError(
                f"is truncated: its header promises {size} bytes, the file holds {held - offset}"
            )
        order: Any = "F" if fortran else "C"
        # numpy maps no bytes for an array without values.
        array: NDArray[Any] = (
            map_array(path, file, dtype, offset, shape, order) if size else np.empty(shape, dtype)
        )
        file.seek(offset + size)
    except BaseException:
        file.close()
        raise
    return array, file


def map_npy(path: Path) -> NDArray[Any]:
    """Return a memory map of the array of a file.

    Raises:
        OSError, ValueError: as `open_npy`.
    """
    array, file = open_npy(path)
    file.close()
    return array


def read_npy(file: BinaryIO, size: int) -> NDArray[Any]:
    """Read the array that follows in a file; it has at most `size` bytes.

    Raises:
        ValueError: it is none, or a larger one.
    """
    shape, _, dtype = _header(file)
    count = math.prod(shape) * dtype.itemsize
    if count > size:
        raise ValueError(f"promises {count} bytes where {size} are expected")
    values = np.frombuffer(file.read(count), dtype)
    return values.reshape(shape)


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, the order and the type of the array that follows."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"has the unknown version {version} of the format npy")
    try:
        shape, fortran, dtype = _HEADERS[version](file, max_header_size=_MAX_HEADER_BYTES)
    except Exception as error:  # Python's own parser reads it, which may raise anything
        raise ValueError(f"its header is damaged ({reason_of(error)})") from error
    if len(shape) > MAX_AXES or any(n < 0 for n in shape):
        raise ValueError(f"has the shape {shape!s:.60}, which no array has")
    if dtype.hasobject:
        raise ValueError("holds objects of Python, which are not read")
    return shape, fortran, dtype
