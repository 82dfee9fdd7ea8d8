"""The scores of a reconstruction by name: values, units and which direction is better."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae3d.scoring.config import METRICS
from vae3d.scoring.measure import Errors
from vae3d.scoring.metrics import Scale

SEAM = "seam"
"""Name of the seam score. Its best value is 1: below 1 the error is smoother across borders than
next to them, which is a visible border too."""
PLANES_PER_SIDE = 3
"""Planes on either side that a border is compared with."""
FLOAT32_JUMP = 1e-6
"""Jump in [-1, 1] that rounding to float32 alone may cause."""


def scored(metrics: Sequence[str], errors: Errors, scale: Scale) -> dict[str, float]:
    """Return the metrics by name, without those that are undefined for lack of voxels."""
    if not errors.voxels:
        return {}
    values = {name: METRICS[name].of(errors, scale) for name in metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def unit_of(name: str, unit: str) -> str:
    """Return the unit of a score (`psnr`, `mae/bone`, `psnr@floor`, `seam`) of scans in `unit`."""
    metric = METRICS.get(name.split("/")[0].split("@")[0])
    return metric.unit.format(unit=unit) if metric else ""


def better_of(name: str) -> int:
    """Return 1 if more of a score is better, -1 if less is better, 0 if nearer to 1 is better."""
    plain = name.split("/")[0].split("@")[0]
    if plain == SEAM:
        return 0
    return METRICS[plain].better if plain in METRICS else -1


def worth(name: str, value: float) -> float:
    """Return a score as a number of which more is better."""
    return better_of(name) * value if better_of(name) else -abs(value - 1)


def seam_score(image: Tensor, other: Tensor, borders: Sequence[Sequence[int]]) -> float:
    """Return the jump of the error of `other` across patch borders, relative to nearby planes.

    Images are (C, *spatial). `borders` are, along each axis, the planes at which a patch begins or
    ends inside the image. The jump at plane i is the mean of |e[i] - e[i - 1]|, where e is the
    error. A score of 1 means that no seam is visible; it is also that of an image without borders
    and of a perfect copy.
    """
    across = nearby = 0.0
    for axis, planes in enumerate(borders, start=1):
        length, at = image.shape[axis], {*planes}
        for plane in planes:
            candidates = range(plane - PLANES_PER_SIDE, plane + PLANES_PER_SIDE + 1)
            near = [i for i in candidates if 0 < i < length and i not in at]
            if not near:
                continue
            start = min(near[0], plane)
            jumps = _jumps(image, other, axis, start, max(near[-1], plane))
            across += jumps[plane - start]
            nearby += sum(jumps[i - start] for i in near) / len(near)
    return (across + FLOAT32_JUMP) / (nearby + FLOAT32_JUMP)


def _jumps(image: Tensor, other: Tensor, axis: int, first: int, last: int) -> list[float]:
    """Return the jumps at the planes from `first` to `last`."""
    place = axis, first - 1, last - first + 2
    jumps = (other.narrow(*place) - image.narrow(*place)).diff(dim=axis).abs_()
    rest = [n for n in range(jumps.dim()) if n != axis]
    means: list[float] = jumps.mean(dim=rest, dtype=torch.float64).tolist()
    return means
