"""The seam score: whether one sees where patches were put together."""

from collections.abc import Sequence

import torch
from torch import Tensor

NEAR = 3
"""Planes on either side that a border is compared with."""
FLOOR = 1e-6
"""A jump in [-1, 1] that is none: float32's own."""


def seam_score(image: Tensor, other: Tensor, borders: Sequence[Sequence[int]]) -> float:
    """How much the error of `other` jumps across patch borders, relative to the planes beside.

    Images (C, *spatial); `borders` are, along each axis, the planes at which a patch begins or
    ends inside of the image. The jump at plane i is the mean of |e[i] - e[i - 1]|, e the error.
    1 means that no seam can be seen, also where there is no border, and for a perfect copy.
    """
    across = beside = 0.0
    for axis, planes in enumerate(borders, start=1):
        length, at = image.shape[axis], {*planes}
        for plane in planes:
            near = [i for i in range(plane - NEAR, plane + NEAR + 1) if 0 < i < length]
            near = [i for i in near if i not in at]
            if not near:
                continue
            start = min(near[0], plane)
            jumps = _jumps(image, other, axis, start, max(near[-1], plane))
            across += jumps[plane - start]
            beside += sum(jumps[i - start] for i in near) / len(near)
    return (across + FLOOR) / (beside + FLOOR)


def _jumps(image: Tensor, other: Tensor, axis: int, first: int, last: int) -> list[float]:
    """The jumps at the planes from `first` to `last`, which lie in memory side by side."""
    place = axis, first - 1, last - first + 2
    jumps = (other.narrow(*place) - image.narrow(*place)).diff(dim=axis).abs_()
    rest = [n for n in range(jumps.dim()) if n != axis]
    means: list[float] = jumps.mean(dim=rest, dtype=torch.float64).tolist()
    return means
