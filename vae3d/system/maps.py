"""Arrays of files: mapped into memory, or read where the file system has no maps."""

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vae3d.system.abilities import is_lacking, report_once


def map_array(
    path: Path,
    file: BinaryIO,
    dtype: np.dtype[Any],
    offset: int,
    shape: tuple[int, ...],
    order: Any,
) -> NDArray[Any]:
    """Return the array that begins at `offset` of an open file, which must hold all of it.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        return np.memmap(file, dtype, "r", offset, shape, order)
    except OSError as error:
        if not is_lacking(error):
            raise
    report_no_maps(path)
    file.seek(offset)
    values = np.frombuffer(file.read(math.prod(shape) * dtype.itemsize), dtype)
    return values.reshape(shape, order=order)


def report_no_maps(path: Path) -> None:
    """Log, once, that files are read instead of mapped."""
    effect = "arrays are read as a whole, which takes more time and memory"
    report_once(path.parent, "has no memory maps", effect)
