"""`VoxelStatistics`: statistics of a case's voxels, kept so as not to read them again."""

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (
    *(0.0, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0),
    *(75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 99.95, 100.0),
)
"""The percentiles that a store keeps for every case."""
FOREGROUND_SHARE = 0.1
"""Share of the extent of the values above its low end from which voxels are foreground."""
MIN_EXTENT_SHARE = 0.01
"""A scan is nearly empty if percentiles 1 and 99 are closer than this share of the distance of
percentiles 0.05 and 99.95."""
BINS = 64
"""Bins of the histogram, of equal width between percentiles 0.1 and 99.9."""
BIN_ENDS = (0.1, 99.9)
COUNTED_VOXELS = 2**18
"""Voxels that are counted in one pass."""
SAMPLED_VOXELS = 2**16
"""Voxels, about, that the histogram counts: enough for a share to 0.2 %, in a millisecond."""


@dataclass(frozen=True)
class VoxelStatistics:
    """Statistics of all voxels of a case, in the scan's own units.

    `percentiles` are those at `PERCENTILES`, `filled` counts voxels that were not finite, and
    `digest` is equal for equal voxels. `histogram` counts a regular sample of the voxels in `BINS`
    bins, and `foreground` is the share of the sample above `threshold`; stores of format 1 have
    neither.
    """

    minimum: float
    maximum: float
    mean: float
    std: float
    percentiles: tuple[float, ...]
    filled: int
    digest: str
    foreground: float | None = None
    histogram: tuple[int, ...] = ()

    @classmethod
    def of(cls, voxels: NDArray[Any], filled: int) -> "VoxelStatistics":
        """Return the statistics of finite voxels (C, *spatial)."""
        counts = _counts(voxels) if voxels.dtype == np.int16 else None
        percentiles = percentiles_of(voxels, PERCENTILES, counts)
        sums = _moments(voxels) if counts is None else _moments_of_counts(counts)
        mean = sums[0] / voxels.size
        digest = hashlib.blake2b(str(voxels.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(voxels).data)
        plain = cls(
            minimum=float(percentiles[0]),
            maximum=float(percentiles[-1]),
            mean=float(mean),
            std=float(np.sqrt(max(sums[1] / voxels.size - mean**2, 0))),
            percentiles=tuple(percentiles.tolist()),
            filled=filled,
            digest=digest.hexdigest(),
        )
        return plain._with_histogram(voxels)

    def _with_histogram(self, voxels: NDArray[Any]) -> "VoxelStatistics":
        # float32 may be too coarse for the edges of the bins.
        sample = sampled(voxels).astype(np.float64)
        counts, _ = np.histogram(sample, BINS, self.bin_range)
        foreground = float(np.count_nonzero(sample > self.threshold) / sample.size)
        return replace(self, foreground=foreground, histogram=tuple(counts.tolist()))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "VoxelStatistics":
        """Return the statistics from the plain values of a catalog; unknown ones are ignored."""
        names = {entry.name for entry in fields(cls)}
        kept: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
            if name in names
        }
        return cls(**kept)

    def percentile(self, at: float) -> float | None:
        """Return the percentile at `at` in [0, 100], or None if it is not in PERCENTILES."""
        return self.percentiles[PERCENTILES.index(at)] if at in PERCENTILES else None

    def between(self, low: float, high: float) -> tuple[float, float]:
        """Return two percentiles, at numbers in [0, 100]; interpolated if they are not kept."""
        ends = np.interp([low, high], PERCENTILES, self.percentiles).tolist()
        return ends[0], ends[1]

    @property
    def extent(self) -> tuple[float, float]:
        """Percentiles 1 and 99, or in a nearly empty scan 0.05 and 99.95."""
        inner, outer = self.between(1, 99), self.between(0.05, 99.95)
        is_empty = inner[1] - inner[0] < MIN_EXTENT_SHARE * (outer[1] - outer[0])
        return outer if is_empty else inner

    @property
    def threshold(self) -> float:
        """The value above which voxels are foreground, whatever the intensity range."""
        low, high = self.extent
        return low + FOREGROUND_SHARE * (high - low)

    @property
    def bin_range(self) -> tuple[float, float]:
        """The low end of the first and the high end of the last bin of the histogram."""
        low, high = self.between(*BIN_ENDS)
        return (low, high) if low < high else (self.minimum, self.maximum)

    def share_above(self, value: float) -> float:
        """Return the share of the voxels above a value, in [0, 1].

        It is estimated from the histogram, between the bounds that the percentiles set.
        """
        if value >= self.maximum:
            return 0.0
        if value < self.minimum:
            return 1.0
        # The last of equal percentiles counts: a constant background is not above itself.
        last = int(np.searchsorted(self.percentiles, value, side="right")) - 1
        below, above = PERCENTILES[last : last + 2]
        low, high = self.bin_range
        if self.histogram and low <= value <= high:
            shares = np.cumsum((0, *self.histogram)) / sum(self.histogram)
            edges = np.linspace(low, high, BINS + 1)
            percent = np.interp(value, edges, np.interp(shares, (0, 1), BIN_ENDS))
        else:
            percent = np.interp(value, self.percentiles[last : last + 2], (below, above))
        return 1 - float(np.clip(percent, below, above)) / 100

    def foreground_above(self, value: float) -> float:
        """Return the share of the foreground above a value, in [0, 1]."""
        if value <= self.threshold:
            return 1.0
        share = self.share_above(self.threshold) if self.foreground is None else self.foreground
        return min(1.0, self.share_above(value) / share) if share else 0.0


def sampled(voxels: NDArray[Any]) -> NDArray[Any]:
    """Return a regular sample of about `SAMPLED_VOXELS` voxels, in one dimension."""
    # An odd step meets all columns of images whose width is a power of two. `flat` does not copy
    # voxels that are in another order in memory.
    return voxels.flat[:: voxels.size // SAMPLED_VOXELS | 1]


def percentiles_of(
    voxels: NDArray[Any], at: tuple[float, ...], counts: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return the percentiles at `at` in [0, 100], interpolated linearly like numpy's.

    For int16, the type of most scans, each value is counted.
    `counts` are those of `_counts`, if they are known.
    """
    if voxels.dtype in (np.float32, np.float64):
        return _percentiles_of_sorted(np.sort(voxels, axis=None), at)
    if voxels.dtype != np.int16:
        return np.asarray(np.percentile(voxels, at), np.float64)
    cumulative = np.cumsum(_counts(voxels) if counts is None else counts)
    position = np.array(at) / 100 * (voxels.size - 1)
    lower = np.searchsorted(cumulative, np.floor(position), side="right")
    upper = np.searchsorted(cumulative, np.ceil(position), side="right")
    return lower - 2.0**15 + (upper - lower) * (position - np.floor(position))


def _percentiles_of_sorted(ordered: NDArray[Any], at: tuple[float, ...]) -> NDArray[np.float64]:
    """Return what `np.percentile` does, bit-identical, in a third of the time.

    It selects each percentile on its own; sorting uses the vector units of the processor.
    """
    position = np.array(at) / 100 * (ordered.size - 1)
    below = np.floor(position).astype(np.int64)
    lower, upper = ordered[below], ordered[np.minimum(below + 1, ordered.size - 1)]
    share, step = position - below, upper - lower
    # From the nearer side, as numpy interpolates.
    found = np.where(share < 0.5, lower + step * share, upper - step * (1 - share))
    return np.asarray(found, np.float64)


def _counts(voxels: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return how many voxels have each value, from -2^15 on."""
    flat, counts = voxels.reshape(-1).view(np.uint16), np.zeros(2**16, np.int64)
    # A piece at a time: numpy widens what it counts to 64 bits.
    for start in range(0, flat.size, COUNTED_VOXELS):
        counts += np.bincount(flat[start : start + COUNTED_VOXELS], minlength=2**16)
    # Read as unsigned numbers, the negative values follow the others.
    return np.roll(counts, 2**15)


def _moments_of_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums of values and squares, which are whole numbers."""
    values = np.arange(-(2.0**15), 2.0**15)
    return np.array([(values * counts).sum(), (values * values * counts).sum()])


def _moments(voxels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the sums of values and squares, in float64."""

    def of_plane(plane: NDArray[Any]) -> tuple[float, float]:
        values = plane.astype(np.float64).ravel()
        # Not `values @ values`: BLAS would wake its threads for each plane.
        return float(values.sum()), float(np.einsum("i,i->", values, values))

    sums = [of_plane(plane) for channel in voxels for plane in channel]
    return np.asarray(np.sum(sums, axis=0), np.float64)
