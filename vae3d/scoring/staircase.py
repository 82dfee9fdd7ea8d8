"""`steps_of`: whether a reconstruction jumps at the borders of the grids that a network uses."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FLOAT32_JUMP = 1e-6
"""Jump in [-1, 1] that rounding to float32 alone may cause."""
VOXELS_PER_CHUNK = 2**18
"""Voxels whose jumps are computed in one pass, so that they stay in caches."""

Steps = tuple[dict[int, float], ...]
"""For each axis the ratio of each period, as `steps_of` returns it."""


def steps_of(image: Tensor, other: Tensor, periods: Sequence[Sequence[int]]) -> Steps:
    """Return how much larger jumps are at every n-th plane of `other` than they are in `image`.

    Images are (C, *spatial) in [-1, 1]; `periods` are the numbers n for each axis. The jump at
    plane i is the mean of |x[i] - x[i - 1]|. Those at multiples of n, over the mean of all
    others, are divided by the same ratio of `image`: 1 is right, blocks score above, and a filter
    that blurs across their borders below. Jumps are absolute: squared, a few edges of bones and
    of the body would outweigh all other voxels. A period that an axis is too short for is left
    out.
    """
    axes = [axis for axis, of in enumerate(periods) if of]
    mine, theirs = (dict(zip(axes, _jumps(x, axes), strict=True)) for x in (other, image))
    ratios: list[dict[int, float]] = [{} for _ in periods]
    for axis in axes:
        for period in periods[axis]:
            pair = _ratio(mine[axis], period), _ratio(theirs[axis], period)
            if not any(map(math.isnan, pair)):
                ratios[axis][period] = pair[0] / pair[1]
    return tuple(ratios)


def staircase(steps: Steps) -> float:
    """Return the ratio of the period that is farthest from 1, as a factor; NaN without periods.

    The ratio of a period is the geometric mean over the axes that have it.
    """
    periods = {period for axis in steps for period in axis}
    means = [
        geometric_mean([axis[period] for axis in steps if period in axis])
        for period in sorted(periods)
    ]
    return max(means, key=lambda mean: abs(math.log(mean)), default=math.nan)


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


def _ratio(jumps: Tensor, period: int) -> float:
    """Return the jumps at multiples of a period over the others; jump i is at plane i + 1."""
    planes = torch.arange(1, len(jumps) + 1)
    across, others = jumps[planes % period == 0], jumps[planes % period != 0]
    if not len(across) or not len(others):
        return math.nan
    return (float(across.mean()) + FLOAT32_JUMP) / (float(others.mean()) + FLOAT32_JUMP)


def _jumps(image: Tensor, axes: Sequence[int]) -> list[Tensor]:
    """Return the jumps between neighbouring planes along some spatial axes, in float64."""
    sums = {axis: torch.zeros(image.shape[axis + 1] - 1, dtype=torch.float64) for axis in axes}
    step = max(1, VOXELS_PER_CHUNK // max(1, image[:, :1].numel()))
    for start in range(0, image.shape[1], step):
        # The plane after the end is needed for the jumps along the first axis only.
        chunk = image[:, start : start + step + 1].float()
        for axis in axes:
            inner = chunk if axis == 0 else chunk[:, :step]
            jumps = inner.diff(dim=axis + 1).abs_()
            rest = [n for n in range(jumps.dim()) if n != axis + 1]
            means = jumps.sum(dim=rest, dtype=torch.float64).cpu()
            if axis == 0:
                sums[axis][start : start + len(means)] += means
            else:
                sums[axis] += means
    return [sums[axis] / (image.numel() / image.shape[axis + 1]) for axis in axes]
