"""`VoxelStatistics`: statistics of a case's voxels, kept so as not to read them again."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (
    *(0.0, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0),
    *(75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 100.0),
)
"""The percentiles that a store keeps for every case."""


@dataclass(frozen=True)
class VoxelStatistics:
    """Statistics of all voxels of a case, in the scan's own units.

    `percentiles` are those at `PERCENTILES`, `filled` counts voxels that were not finite, and
    `digest` is equal for equal voxels.
    """

    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: tuple[float, ...]
    filled: int
    digest: str

    @classmethod
    def of(cls, voxels: NDArray[Any], filled: int) -> "VoxelStatistics":
        """Return the statistics of finite voxels (C, *spatial)."""
        percentiles = percentiles_of(voxels, PERCENTILES)
        sums = np.array([_moments(plane) for channel in voxels for plane in channel]).sum(axis=0)
        mean = sums[0] / voxels.size
        digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(voxels).data)
        return cls(
            minimum=float(percentiles[0]),
            maximum=float(percentiles[-1]),
            mean=float(mean),
            std=float(np.sqrt(max(sums[1] / voxels.size - mean**2, 0))),
            percentiles=tuple(percentiles.tolist()),
            filled=filled,
            digest=digest.hexdigest(),
        )

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "VoxelStatistics":
        """Return the statistics from the plain values of a catalog."""
        return cls(**{**values, "percentiles": tuple(values["percentiles"])})

    def percentile(self, at: float) -> float | None:
        """Return the percentile at `at` in [0, 100], or None if it is not in PERCENTILES."""
        return self.percentiles[PERCENTILES.index(at)] if at in PERCENTILES else None


def percentiles_of(voxels: NDArray[Any], at: tuple[float, ...]) -> NDArray[np.float64]:
    """Return the percentiles at `at` in [0, 100], interpolated linearly like numpy's.

    For int16, the type of most scans, each value is counted: many times faster than sorting.
    """
    if voxels.dtype != np.int16:
        return np.asarray(np.percentile(voxels, at), np.float64)
    counts = np.zeros(2**16, np.int64)
    for plane in voxels.reshape(-1, voxels.shape[-1] * voxels.shape[-2]):
        counts += np.bincount(plane.astype(np.int32) + 2**15, minlength=2**16)
    cumulative = np.cumsum(counts)
    position = np.array(at) / 100 * (voxels.size - 1)
    lower = np.searchsorted(cumulative, np.floor(position), side="right")
    upper = np.searchsorted(cumulative, np.ceil(position), side="right")
    return lower - 2.0**15 + (upper - lower) * (position - np.floor(position))


def _moments(plane: NDArray[Any]) -> tuple[float, float]:
    """Return the sums of values and squares of a plane, in float64."""
    values = plane.astype(np.float64).ravel()
    return float(values.sum()), float(values @ values)
