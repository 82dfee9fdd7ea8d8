"""`pooled`: one histogram of the values of several scans, from their statistics."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae3d.values.voxel_statistics import BIN_ENDS, BINS, PERCENTILES, VoxelStatistics

POOLED_BINS = 96


def share_below(statistics: VoxelStatistics, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of a scan's voxels below each value, in [0, 1].

    It is interpolated between the percentiles, and between the bins of the histogram if there
    is one.
    """
    places, shares = np.array(statistics.percentiles), np.array(PERCENTILES) / 100
    counts = np.array(statistics.histogram)
    if counts.sum() > 0:
        edges = np.linspace(*statistics.bin_range, BINS + 1)
        inside = np.cumsum((0, *counts)) / counts.sum()
        first, last = (end / 100 for end in BIN_ENDS)
        places = np.concatenate([places, edges])
        shares = np.concatenate([shares, first + (last - first) * inside])
    order = np.lexsort((shares, places))
    # Sampled bins and exact percentiles may differ a little: a share never decreases.
    rising = np.maximum.accumulate(shares[order])
    return np.interp(values, places[order], rising, left=0.0, right=1.0)


def pooled(
    scans: Sequence[tuple[VoxelStatistics, tuple[float, float]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of POOLED_BINS bins and the share of all values in each.

    Each scan comes with (origin, unit): `(value - origin) / unit` is what is counted, so that
    scans with ranges of their own can be compared. All scans count alike, whatever their size.
    The first and the last bin also hold what is beyond them.
    """
    ends = [
        ((end - origin) / unit)
        for statistics, (origin, unit) in scans
        for end in statistics.between(*BIN_ENDS)
    ]
    low, high = min(ends), max(ends)
    edges = np.linspace(low, high if high > low else low + 1.0, POOLED_BINS + 1)
    below = [
        share_below(statistics, edges * unit + origin) for statistics, (origin, unit) in scans
    ]
    mean = np.mean(below, axis=0)
    mean[0], mean[-1] = 0.0, 1.0
    return edges, np.diff(mean)
