"""Whether the values of a scan fit the intensity range that they are trained with."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vae3d.values.intensity import IntensityContract
from vae3d.values.voxel_statistics import VoxelStatistics

MIN_COVERED = 0.01
"""It is an error if the values cover a smaller share of the window."""
LOW_COVERED = 0.1
"""It is a warning if the values cover a smaller share of the window."""
MAX_SATURATED = 0.99
"""It is an error if a window turns a larger share of the foreground into one value."""
MAX_CLIPPED = 0.5
"""It is a warning if a larger share of the foreground is above the window."""
HIGHEST_AIR_HU = -500.0
"""A CT whose lowest value is above this one holds no air (-1000 HU)."""
MIN_FLOAT32_STEPS = 256
"""It is a warning if the range of the values holds fewer float32 numbers."""
OUTER = 0.05, 99.95
"""Percentiles whose range must also be small for a warning."""
FITTING = 0.5, 99.5
"""Percentiles of the window that is suggested."""


@dataclass(frozen=True)
class Finding:
    """What does not fit about the values of one scan.

    `kind` is a key of `SENTENCES`, `share` what its sentence states, in [0, 1]. `seen` are
    percentiles 1 and 99, and `fitting` is a window that would fit, both in the scan's units.
    """

    kind: str
    is_error: bool
    share: float
    seen: tuple[float, float]
    fitting: tuple[float, float]


SENTENCES = {
    "saturated": "{have} {share} % of the foreground turned into one value by the window",
    "covered": "{use} {share} % of the window",
    "clipped": "{have} {share} % of the foreground above the window, where it is clipped",
    "air": "{have} no voxel near -1000 HU (air)",
    "precision": "{have} values that differ by less than float32 can represent",
}
"""What is said of one or more scans for each kind of finding; `share` is in percent."""


def find_implausible(statistics: VoxelStatistics, contract: IntensityContract) -> list[Finding]:
    """Return what does not fit about a scan with these statistics; values in HU must hold air."""
    low, high = statistics.extent
    fitting = statistics.between(*FITTING)
    kinds: list[tuple[str, bool, float]] = []
    if contract.kind == "window":
        kinds += _against_window(statistics, contract.low, contract.high)
    # An error has the same cause as missing air: one of the two is enough.
    is_error = any(error for _, error, _ in kinds)
    if contract.unit == "HU" and statistics.minimum > HIGHEST_AIR_HU and not is_error:
        kinds.append(("air", False, 0.0))
    steps = (high - low) / float(np.spacing(np.float32(max(abs(low), abs(high)))))
    if 0 < steps < MIN_FLOAT32_STEPS:
        kinds.append(("precision", False, 0.0))
    return [
        Finding(
            *kind,
            seen=statistics.between(1, 99),
            fitting=(min(low, fitting[0]), max(high, fitting[1])),
        )
        for kind in kinds
    ]


def _against_window(
    statistics: VoxelStatistics, low: float, high: float
) -> Iterator[tuple[str, bool, float]]:
    """Yield kind, severity and share of what does not fit the window [low, high]."""

    def covered(first: float, last: float) -> float:
        return max(0.0, min(last, high) - max(first, low)) / (high - low)

    above = statistics.foreground_above(high)
    below = 1 - statistics.foreground_above(low)
    if max(above, below) > MAX_SATURATED:
        yield "saturated", True, max(above, below)
        return
    inner, outer = covered(*statistics.extent), covered(*statistics.between(*OUTER))
    # A small object before an empty background is no reason to warn.
    if inner < MIN_COVERED or outer < LOW_COVERED:
        yield "covered", inner < MIN_COVERED, inner
    # Values below the window are not counted: padding of -2000 or -3024 HU is normal.
    if above > MAX_CLIPPED:
        yield "clipped", False, above
