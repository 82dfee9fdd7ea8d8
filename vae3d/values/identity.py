"""`ScanIdentity`: which scan it is, whatever it is called and wherever it is."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 4096
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of the golden ratio, modulo 1, fill an interval evenly for any number of them."""
DECIMALS = 3
"""Decimals of the affine that count, in millimetres."""


@dataclass(frozen=True)
class ScanIdentity:
    """Two digests of a scan as its file has it: before resampling, scaling and filling of NaN.

    `voxels` is equal for equal shapes and values, `geometry` for equal shapes and places. Both are
    32 hexadecimal digits.
    """

    voxels: str
    geometry: str

    @classmethod
    def of(cls, voxels: NDArray[Any], affine: NDArray[np.float64]) -> "ScanIdentity":
        """Return the identity of a canonical image (C, *spatial) in its own units.

        `voxels` hashes the shape and SAMPLES voxels at fixed relative positions, as float32:
        a file, a store and a latent of the same scan agree, whatever type holds the values.
        `affine` (n+1, n+1) maps voxel indices to RAS millimetres.
        """
        shape = str(voxels.shape).encode()
        steps = (np.arange(1, SAMPLES + 1) * GOLDEN) % 1
        places = np.unravel_index((steps * voxels.size).astype(np.int64), voxels.shape)
        samples = voxels[places].astype("<f4")
        # NaN and zero have several bit patterns each.
        samples[np.isnan(samples)] = np.nan
        grid = np.round(affine, DECIMALS).astype("<f8")
        return cls(_digest(shape, samples + np.float32(0)), _digest(shape, grid + 0.0))


def _digest(shape: bytes, numbers: NDArray[Any]) -> str:
    return hashlib.blake2b(shape + numbers.tobytes(), digest_size=16).hexdigest()
