"""`measure`: the errors between images from which every metric is computed."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from vae3d.loss.blur import gaussian_window, smooth
from vae3d.loss.structural import SCALE_WEIGHTS, WindowMoments, halved, num_scales, similarity
from vae3d.runtime.threads import lanes, map_concurrently
from vae3d.scoring.regions import WHOLE, Buckets
from vae3d.scoring.sharpness import Sharpness

R = TypeVar("R")

MODEL_RANGE = 2.0
"""Width of the range [-1, 1] of images and reconstructions."""
TILE = (32, 64, 256)
"""Window centres along the last axes that are blurred in one pass: little more than caches hold.
Smaller tiles repeat more work, because neighbouring tiles both compute what they share."""
WINDOWS_PER_CHUNK = 2**16
"""Windows compared in one pass, so that intermediate results stay in caches."""
MAX_PARALLEL_CALLS = 4
"""Calls that run at the same time, at most: each tile needs some 30 MiB of memory."""
VOXELS_PER_CHUNK = 2**16
"""Voxels per pass of the errors that need no neighbours."""


@dataclass(frozen=True)
class Errors:
    """The errors between two images in [-1, 1] in one region; NaN where not measured.

    `absolute` and `squared` are mean errors, `signal` is the mean square of the image on [0, 1],
    `gradient` is the mean absolute error of differences between neighbours, `ssim` and `ms_ssim`
    are structural similarities. `sharpness` is added by who measures it.
    """

    voxels: int
    absolute: float
    squared: float
    signal: float = math.nan
    gradient: float = math.nan
    ssim: float = math.nan
    ms_ssim: float = math.nan
    sharpness: Sharpness | None = None


def measure(
    images: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    values: Tensor,
    buckets: Buckets,
    structural: bool = True,
) -> list[dict[str, Errors]]:
    """Return the errors by region of each pair of images (C, *spatial) in [-1, 1].

    `buckets` assigns voxels to regions by `values` (C, *spatial), the values of the scan.
    `structural` enables the similarities, which take most of the time; an image in several pairs
    is blurred once for all of them. Regions, gradient, signal and MS-SSIM are measured for the
    first pair only.
    """
    # Reconstructions of a model may be channels last, and rows of windows must be contiguous.
    images = [image.contiguous() for image in images]
    binned = [(buckets, buckets.of(values)), *[_one_bucket(values)] * (len(pairs) - 1)]
    image, other = (images[number] for number in pairs[0])
    pointwise = [
        partial(_pointwise, images[first], images[second], *places)
        for (first, second), places in zip(pairs, binned, strict=True)
    ]
    sums = _run_all(pointwise, image)
    similar = _similarities(images, pairs, binned) if structural else None
    calls = [partial(_signal, image), partial(_gradient, image, other)]
    if similar:
        calls.append(partial(_multiscale, image, other, similar[0]))
    signal, gradient, *multiscale = _run_all(calls, image)
    errors = []
    for number, (total, (parts, _)) in enumerate(zip(sums, binned, strict=True)):
        regions = {
            name: Errors(
                voxels=int(_total(total.count, members)),
                absolute=_mean(total.absolute, total.count, members),
                squared=_mean(total.squared, total.count, members),
                ssim=_mean(similar[number].total, similar[number].count, members)
                if similar
                else math.nan,
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
        errors.append(regions)
    return errors


def _run_all(calls: Sequence[Callable[[], R]], image: Tensor) -> list[R]:
    """Return the results of the calls.

    On a CPU they run in parallel: each is too small to use all threads of torch by itself.
    """
    count = lanes(MAX_PARALLEL_CALLS) if image.is_cpu else 1
    return [*map_concurrently(lambda call: call(), calls, count)]


BinnedVoxels = tuple[Buckets, Tensor]
"""Buckets and, from `Buckets.of`, the bin of each voxel of a scan, uint8 (C, *spatial)."""


def _one_bucket(values: Tensor) -> BinnedVoxels:
    """Return buckets that hold the whole scan in one bin."""
    buckets = Buckets([])
    return buckets, buckets.of(values)


@dataclass(frozen=True)
class _Sums:
    """Sums of the errors in each bin, float64 on the CPU."""

    count: Tensor
    absolute: Tensor
    squared: Tensor


def _pointwise(image: Tensor, other: Tensor, buckets: Buckets, places: Tensor) -> _Sums:
    """Return the sums of absolute and squared errors in each bin."""
    absolute, squared = torch.zeros(2, buckets.count, dtype=torch.float64)
    for x, y, place in zip(*(_chunks(part) for part in (image, other, places)), strict=True):
        # Squared and summed in float64, so that the small errors of a good copy keep all digits.
        error = (y - x).double()
        squared += buckets.sums(place, error.square())
        absolute += buckets.sums(place, error.abs_())
    return _Sums(buckets.counts(places), absolute, squared)


def _signal(image: Tensor) -> float:
    """Return the mean square of the image on [0, 1]."""
    total = sum(float(part.add(1).square().sum()) for part in _chunks(image))
    return total / MODEL_RANGE**2 / max(image.numel(), 1)


def _chunks(values: Tensor) -> Sequence[Tensor]:
    return torch.split(values.flatten(), VOXELS_PER_CHUNK)


def _gradient(image: Tensor, other: Tensor) -> float:
    """Return the mean absolute error of the forward differences, over all axes and voxels."""
    total, count = 0.0, 0
    step = max(1, VOXELS_PER_CHUNK // max(1, image[:, :1].numel()))
    for start in range(0, image.shape[1], step):
        chunk = slice(start, start + step + 1)
        error = other[:, chunk] - image[:, chunk]
        for axis in range(1, error.dim()):
            # The extra plane at the end belongs to the next chunk: only differences along the
            # first axis use it.
            inner = error if axis == 1 else error[:, :step]
            difference = inner.diff(dim=axis).abs_()
            total += _sum(difference)
            count += difference.numel()
    return total / count if count else 0.0


@dataclass
class _Similarities:
    """Counts and sums of SSIM in each bin; a window belongs to the bin of its centre.

    `structure` is the sum of contrast-structure over all windows.
    """

    count: Tensor
    total: Tensor
    structure: float = 0.0

    def add(self, other: "_Similarities") -> None:
        """Add the sums of another part of the image."""
        self.count += other.count
        self.total += other.total
        self.structure += other.structure


def _similarities(
    images: Sequence[Tensor], pairs: Sequence[tuple[int, int]], binned: Sequence[BinnedVoxels]
) -> list[_Similarities]:
    """Return the similarities of each pair, contrast-structure for the first pair only."""
    calls = [
        partial(_tile_similarities, images, pairs, binned, tile, centre)
        for tile, centre in tiles(tuple(images[0].shape[1:]))
    ]
    totals, *rest = _run_all(calls, images[0])
    for part in rest:
        for total, more in zip(totals, part, strict=True):
            total.add(more)
    return totals


def _tile_similarities(
    images: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    binned: Sequence[BinnedVoxels],
    tile: tuple[slice, ...],
    centre: tuple[slice, ...],
) -> list[_Similarities]:
    """Return the similarities of each pair in one tile, whose windows have these centres."""
    crop, centres = (slice(None), *tile), (slice(None), *centre)
    structure, maps = _similarity_maps([image[crop][None] for image in images], pairs)
    sums = []
    for (buckets, places), similarity_map in zip(binned, maps, strict=True):
        place = places[centres]
        sums.append(_Similarities(buckets.counts(place), buckets.sums(place, similarity_map)))
    sums[0].structure = structure
    return sums


def _similarity_maps(
    images: Sequence[Tensor], pairs: Sequence[tuple[int, int]]
) -> tuple[float, list[Tensor]]:
    """Return the summed contrast-structure of the first pair, and the SSIM maps of all pairs.

    The images (1, C, *spatial) are of the same tile. Equal images are blurred once: where nothing
    was clipped, the scan equals the model's input. All pairs are compared chunk by chunk, so that
    intermediate results stay in caches.
    """
    same = [
        next((n for n in range(number) if torch.equal(images[n], image)), number)
        for number, image in enumerate(images)
    ]
    pairs = [(same[first], same[second]) for first, second in pairs]
    products = {(i, j): smooth(images[i] * images[j]) for i, j in {*pairs}}
    means = {
        n: (smooth(images[n].contiguous()).view(-1), smooth(images[n].square()).view(-1))
        for n in {number for pair in products for number in pair}
    }
    structure = 0.0
    for start in range(0, products[pairs[0]].numel(), WINDOWS_PER_CHUNK):
        chunk = slice(start, start + WINDOWS_PER_CHUNK)
        moments = {
            n: WindowMoments.of(mean[chunk], square[chunk], MODEL_RANGE, low=-1)
            for n, (mean, square) in means.items()
        }
        for (i, j), crossed in products.items():
            windows = crossed.view(-1)[chunk]
            luminance, contrast = similarity(moments[i], moments[j], windows, MODEL_RANGE)
            if (i, j) == pairs[0]:
                structure += _sum(contrast)
            # The SSIM map overwrites the product, which is no longer needed.
            torch.mul(luminance, contrast, out=windows)
    return structure, [products[pair] for pair in pairs]


def _multiscale(image: Tensor, other: Tensor, finest: _Similarities) -> float:
    """Return MS-SSIM, given the similarities at the finest scale."""
    scales = num_scales(image[None])
    exponents = torch.tensor(SCALE_WEIGHTS[:scales], dtype=torch.float64)
    pair, sums, product = [image, other], finest, 1.0
    for scale, exponent in enumerate((exponents / exponents.sum()).tolist()):
        if scale:
            pair = [halved(one[None])[0] for one in pair]
            sums = _similarities(pair, [(0, 1)], [_one_bucket(pair[0])])[0]
        similar = sums.total.sum() if scale == scales - 1 else sums.structure
        product *= max(float(similar / sums.count.sum()), 0.0) ** exponent
    return product


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield tiles of an image that together contain every window of the image once.

    Each tile is a pair of slices: its voxels, and the voxels at the centres of its windows.
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


def _sum(values: Tensor) -> float:
    """Return the sum in float64 of the float32 sums of rows.

    Rows are too short for a rounding error that a score would show.
    """
    return float(values.sum(dim=-1).sum(dtype=torch.float64))


def _total(sums: Tensor, members: list[bool]) -> float:
    """Return the sum over the bins of a region."""
    return float(sums[torch.tensor(members)].sum())


def _mean(sums: Tensor, counts: Tensor, members: list[bool]) -> float:
    """Return the mean over the bins of a region, NaN if they are empty."""
    count = _total(counts, members)
    return _total(sums, members) / count if count else math.nan
