"""Convert voxels to the type of a file, slab by slab."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLAB_VOXELS = 2**20
"""Voxels converted in one pass, at most, unless one plane has more."""


def converted_slabs(voxels: NDArray[Any], dtype: str) -> Iterator[NDArray[Any]]:
    """Yield an array slab by slab along its first axis, converted and contiguous (C order).

    A file in this order is written without a second array of its size in memory.
    """
    planes = max(1, SLAB_VOXELS // max(1, math.prod(voxels.shape[1:])))
    for start in range(0, len(voxels), planes):
        yield converted(voxels[start : start + planes], dtype)


def converted(voxels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the voxels in a file's type, contiguous; integers are rounded and clipped."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.ascontiguousarray(voxels, kind)
    limits = np.iinfo(kind)
    rounded = np.rint(voxels)
    integers = np.empty(voxels.shape, kind)
    integers[...] = np.clip(rounded, limits.min, limits.max, out=rounded)
    return integers
