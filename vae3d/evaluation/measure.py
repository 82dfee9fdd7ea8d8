"""`measure`: one pass over an image and what stands for it, from which every metric follows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from vae3d.evaluation.regions import WHOLE, Buckets
from vae3d.loss.structural import SCALE_WEIGHTS, gaussian_window, halved, num_scales, similarity

MODEL_RANGE = 2.0
"""Images and reconstructions lie in [-1, 1]."""
TILE = (16, 64, 512)
"""Window centres along the last axes that are blurred at once: what a core's cache holds."""
FLAT = 2**20
"""Voxels looked at at once where no neighbour counts."""


@dataclass(frozen=True)
class Errors:
    """How far two images in [-1, 1] are apart in one region; NaN where nothing was measured.

    `absolute` and `squared` are mean errors, `signal` the mean square of the image on [0, 1],
    `gradient` the mean absolute error of differences between neighbours, `ssim` and `ms_ssim`
    structural similarities.
    """

    voxels: int
    absolute: float
    squared: float
    signal: float = math.nan
    gradient: float = math.nan
    ssim: float = math.nan
    ms_ssim: float = math.nan


def measure(
    image: Tensor, other: Tensor, values: Tensor, buckets: Buckets, structural: bool = True
) -> dict[str, Errors]:
    """Errors of `other` against `image`, (C, *spatial) in [-1, 1], in each region.

    `values` (C, *spatial) are the scan's own, by which `buckets` part the voxels. `structural`
    asks for the similarities, which take most of the time.
    """
    sums = _pointwise(image, other, values, buckets)
    similar = _similarities(image, other, values, buckets) if structural else None
    gradient = _gradient(image, other)
    signal = sums.signal / max(image.numel(), 1)
    found = {}
    for name, members in buckets.members.items():
        chosen = torch.tensor(members)
        count = int(sums.count[chosen].sum())
        absolute, squared = (
            _ratio(float(total[chosen].sum()), count) for total in (sums.absolute, sums.squared)
        )
        whole = name == WHOLE
        found[name] = Errors(
            voxels=count,
            absolute=absolute,
            squared=squared,
            signal=signal if whole else math.nan,
            gradient=gradient if whole else math.nan,
            ssim=similar.mean(chosen) if similar else math.nan,
            ms_ssim=similar.multiscale if similar and whole else math.nan,
        )
    return found


@dataclass(frozen=True)
class _Sums:
    count: Tensor
    absolute: Tensor
    squared: Tensor
    signal: float


def _pointwise(image: Tensor, other: Tensor, values: Tensor, buckets: Buckets) -> _Sums:
    count, absolute, squared = (_zeros(buckets) for _ in range(3))
    signal = 0.0
    flat = [x.flatten() for x in (image, other, values)]
    for start in range(0, image.numel(), FLAT):
        x, y, v = (part[start : start + FLAT] for part in flat)
        # The squares in float64: of a perfect copy nothing is left, of a good one every digit.
        error = (y - x).double()
        signal += float(x.add(1).square().sum()) / MODEL_RANGE**2
        if buckets.count == 1:
            # No need to sort what all goes into one.
            count += len(error)
            squared += float(torch.dot(error, error))
            absolute += float(error.abs_().sum())
            continue
        piece = buckets.of(v)
        count += buckets.sums(piece)
        squared += buckets.sums(piece, error.square())
        absolute += buckets.sums(piece, error.abs_())
    return _Sums(count, absolute, squared, signal)


def _gradient(image: Tensor, other: Tensor) -> float:
    """The mean absolute difference of the forward differences, over all axes and voxels."""
    total, count = 0.0, 0
    planes = image.shape[1]
    for start in range(0, planes, TILE[0]):
        end = start + TILE[0]
        error = other[:, start : end + 1] - image[:, start : end + 1]
        for axis in range(1, error.dim()):
            # The plane after the last one is the first of the next part.
            inner = error if axis == 1 else error[:, : TILE[0]]
            difference = inner.diff(dim=axis).abs()
            total += float(difference.sum(dtype=torch.float64))
            count += difference.numel()
    return _ratio(total, count) if count else 0.0


@dataclass(frozen=True)
class _Similarities:
    count: Tensor
    total: Tensor
    multiscale: float

    def mean(self, chosen: Tensor) -> float:
        return _ratio(float(self.total[chosen].sum()), int(self.count[chosen].sum()))


def _similarities(image: Tensor, other: Tensor, values: Tensor, buckets: Buckets) -> _Similarities:
    """SSIM by region, where a window belongs to its centre, and MS-SSIM of the whole."""
    scales = num_scales(image[None])
    exponents = torch.tensor(SCALE_WEIGHTS[:scales], dtype=torch.float64)
    exponents /= exponents.sum()
    counts, totals = _zeros(buckets), _zeros(buckets)
    multiscale, first, second = 1.0, image[None], other[None]
    for scale, exponent in enumerate(exponents.tolist()):
        last = scale == scales - 1
        total, count = 0.0, 0
        for tile, centre in tiles(tuple(first.shape[2:])):
            place = (slice(None), slice(None), *tile)
            luminance, structure = similarity(first[place], second[place], MODEL_RANGE, low=-1)
            both = luminance * structure
            total += float((both if last else structure).sum(dtype=torch.float64))
            count += both.numel()
            if scale == 0:
                middle = (slice(None), *centre)
                piece = buckets.of(values[middle])
                counts += buckets.sums(piece)
                totals += buckets.sums(piece, both.flatten().double())
        multiscale *= max(total / count, 0.0) ** exponent
        if not last:
            first, second = halved(first), halved(second)
    return _Similarities(counts, totals, multiscale)


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Parts of an image whose windows together are those of the whole, each once.

    Gives the voxels that a part needs, and those at the centres of its windows.
    """
    axes = []
    for length, step in zip(shape, TILE[-len(shape) :], strict=True):
        window = gaussian_window(length).numel()
        windows = length - window + 1
        starts = range(0, windows, step)
        ends = [min(start + step, windows) for start in starts]
        half = window // 2
        axes.append(
            [
                (slice(s, e + window - 1), slice(s + half, e + half))
                for s, e in zip(starts, ends, strict=True)
            ]
        )
    for parts in product(*axes):
        yield tuple(tile for tile, _ in parts), tuple(centre for _, centre in parts)


def _zeros(buckets: Buckets) -> Tensor:
    return torch.zeros(buckets.count, dtype=torch.float64)


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan
