"""`measure`: what every metric follows from, of an image and what stands for it."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from vae3d.loss.blur import gaussian_window, smooth
from vae3d.loss.structural import SCALE_WEIGHTS, Seen, halved, num_scales, similarity
from vae3d.runtime.threads import lanes, side_by_side
from vae3d.scoring.regions import WHOLE, Buckets

R = TypeVar("R")

MODEL_RANGE = 2.0
"""Images and reconstructions lie in [-1, 1]."""
TILE = (32, 64, 256)
"""Window centres along the last axes that are blurred at once: little more than caches hold, for
what neighbouring tiles share is computed in each."""
NEAR = 2**16
"""Windows compared at once."""
MOST = 4
"""Calls at work at once, at most: some 30 MiB lie around a tile."""
FLAT = 2**16
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
    images: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    values: Tensor,
    buckets: Buckets,
    structural: bool = True,
) -> list[dict[str, Errors]]:
    """Errors between pairs of images (C, *spatial) in [-1, 1].

    `values` (C, *spatial) are the scan's own, by which `buckets` part the voxels in regions.
    `structural` asks for the similarities, which take most of the time: an image of several pairs
    is blurred once for all. Regions, gradient, signal and MS-SSIM are the first pair's alone.
    """
    parted = [(buckets, buckets.of(values)), *[_unparted(values)] * (len(pairs) - 1)]
    image, other = (images[number] for number in pairs[0])
    pointwise = [
        partial(_pointwise, images[first], images[second], *places)
        for (first, second), places in zip(pairs, parted, strict=True)
    ]
    sums = _each(pointwise, image)
    similar = _similarities(images, pairs, parted) if structural else None
    calls = [partial(_signal, image), partial(_gradient, image, other)]
    if similar:
        calls.append(partial(_multiscale, image, other, similar[0]))
    signal, gradient, *multiscale = _each(calls, image)
    found = []
    for number, (total, (parts, _)) in enumerate(zip(sums, parted, strict=True)):
        regions = {
            name: Errors(
                voxels=total.count_of(members),
                absolute=total.mean_of(total.absolute, members),
                squared=total.mean_of(total.squared, members),
                ssim=similar[number].mean(members) if similar else math.nan,
            )
            for name, members in parts.members.items()
        }
        if number == 0:
            regions[WHOLE] = replace(
                regions[WHOLE],
                signal=signal,
                gradient=gradient,
                ms_ssim=multiscale[0] if multiscale else math.nan,
            )
        found.append(regions)
    return found


def _each(calls: Sequence[Callable[[], R]], image: Tensor) -> list[R]:
    """What the calls give; on a CPU side by side, as what each of them does is small."""
    count = lanes(MOST) if image.is_cpu else 1
    return [*side_by_side(lambda call: call(), calls, count)]


Parted = tuple[Buckets, Tensor]
"""Buckets, and the place in them of each voxel of a scan (C, *spatial)."""


def _unparted(values: Tensor) -> Parted:
    buckets = Buckets([])
    return buckets, buckets.of(values)


@dataclass(frozen=True)
class _Sums:
    count: Tensor
    absolute: Tensor
    squared: Tensor

    def count_of(self, members: list[bool]) -> int:
        return int(self.count[torch.tensor(members)].sum())

    def mean_of(self, total: Tensor, members: list[bool]) -> float:
        return _ratio(float(total[torch.tensor(members)].sum()), self.count_of(members))


def _pointwise(image: Tensor, other: Tensor, buckets: Buckets, places: Tensor) -> _Sums:
    absolute, squared = _zeros(buckets), _zeros(buckets)
    for x, y, place in zip(*(_portions(part) for part in (image, other, places)), strict=True):
        # In float64: of a perfect copy nothing is left, of a good one every digit.
        error = (y - x).double()
        squared += buckets.sums(place, error.square())
        absolute += buckets.sums(place, error.abs_())
    return _Sums(buckets.counts(places), absolute, squared)


def _signal(image: Tensor) -> float:
    """The mean square of the image on [0, 1]."""
    total = sum(float(part.add(1).square().sum()) for part in _portions(image))
    return total / MODEL_RANGE**2 / max(image.numel(), 1)


def _portions(values: Tensor) -> Sequence[Tensor]:
    return torch.split(values.flatten(), FLAT)


def _gradient(image: Tensor, other: Tensor) -> float:
    """The mean absolute difference of the forward differences, over all axes and voxels."""
    total, count = 0.0, 0
    step = max(1, FLAT // max(1, image[:, :1].numel()))
    for start in range(0, image.shape[1], step):
        end = start + step
        error = other[:, start : end + 1] - image[:, start : end + 1]
        for axis in range(1, error.dim()):
            # The plane after the last one is the first of the next part.
            inner = error if axis == 1 else error[:, :step]
            difference = inner.diff(dim=axis).abs_()
            total += _sum(difference)
            count += difference.numel()
    return _ratio(total, count) if count else 0.0


@dataclass
class _Similarities:
    """Sums of SSIM by piece of the line of values, where a window belongs to its centre.

    `structure` is the sum of contrast-structure over all windows.
    """

    count: Tensor
    total: Tensor
    structure: float = 0.0

    def add(self, other: "_Similarities") -> None:
        self.count += other.count
        self.total += other.total
        self.structure += other.structure

    def mean(self, members: list[bool]) -> float:
        chosen = torch.tensor(members)
        return _ratio(float(self.total[chosen].sum()), int(self.count[chosen].sum()))


def _similarities(
    images: Sequence[Tensor], pairs: Sequence[tuple[int, int]], parted: Sequence[Parted]
) -> list[_Similarities]:
    """Those of each pair; contrast-structure is the first one's alone."""
    calls = [
        partial(_of_tile, images, pairs, parted, tile, centre)
        for tile, centre in tiles(tuple(images[0].shape[1:]))
    ]
    found, *rest = _each(calls, images[0])
    for part in rest:
        for sums, more in zip(found, part, strict=True):
            sums.add(more)
    return found


def _of_tile(
    images: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    parted: Sequence[Parted],
    tile: tuple[slice, ...],
    centre: tuple[slice, ...],
) -> list[_Similarities]:
    cut, middle = (slice(None), *tile), (slice(None), *centre)
    structure, maps = _Part([image[cut][None] for image in images], pairs).similarities()
    found = []
    for (buckets, places), similar in zip(parted, maps, strict=True):
        place = places[middle]
        found.append(_Similarities(buckets.counts(place), buckets.sums(place, similar)))
    found[0].structure = structure
    return found


class _Part:
    """The same part of several images (1, C, *spatial), compared in pairs.

    Equal images count as one: where nothing was clipped, a scan is what the model saw of it.
    """

    def __init__(self, images: Sequence[Tensor], pairs: Sequence[tuple[int, int]]) -> None:
        same = [
            next((n for n in range(number) if torch.equal(images[n], image)), number)
            for number, image in enumerate(images)
        ]
        self.pairs = [(same[first], same[second]) for first, second in pairs]
        self.products = {(i, j): smooth(images[i] * images[j]) for i, j in {*self.pairs}}
        self.means = {
            n: (smooth(images[n].contiguous()), smooth(images[n].square()))
            for n in {number for pair in self.products for number in pair}
        }

    def similarities(self) -> tuple[float, list[Tensor]]:
        """The sum of the first pair's contrast-structure, and each pair's SSIM of every window.

        A few windows at a time, of all pairs: what lies between is small and stays near.
        """
        means = {n: [x.view(-1) for x in known] for n, known in self.means.items()}
        products = {pair: product.view(-1) for pair, product in self.products.items()}
        structure = 0.0
        for start in range(0, products[self.pairs[0]].numel(), NEAR):
            here = slice(start, start + NEAR)
            seen = {
                n: Seen.of(mean[here], square[here], MODEL_RANGE, low=-1)
                for n, (mean, square) in means.items()
            }
            for pair, maps in products.items():
                first, second = (seen[number] for number in pair)
                light, contrast = similarity(first, second, maps[here], MODEL_RANGE)
                if pair == self.pairs[0]:
                    structure += _sum(contrast)
                # The product is needed no more.
                torch.mul(light, contrast, out=maps[here])
        return structure, [self.products[pair] for pair in self.pairs]


def _multiscale(image: Tensor, other: Tensor, finest: _Similarities) -> float:
    """MS-SSIM, given the similarities at the first scale."""
    scales = num_scales(image[None])
    exponents = torch.tensor(SCALE_WEIGHTS[:scales], dtype=torch.float64)
    pair, found, product = [image, other], finest, 1.0
    for scale, exponent in enumerate((exponents / exponents.sum()).tolist()):
        if scale:
            pair = [halved(one[None])[0] for one in pair]
            found = _similarities(pair, [(0, 1)], [_unparted(pair[0])])[0]
        seen = found.total.sum() if scale == scales - 1 else found.structure
        product *= max(float(seen / found.count.sum()), 0.0) ** exponent
    return product


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


def _sum(values: Tensor) -> float:
    """In float64, of rows in float32: a row is too short to lose what a score shows."""
    return float(values.sum(dim=-1).sum(dtype=torch.float64))


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan
