"""`sliced_wasserstein`: the distance between the patches of two sets of images.

Karras et al. 2018 (arXiv:1710.10196), section 5: patches of 7 voxels a side on the levels of a
Laplacian pyramid, compared by the Wasserstein distance of their projections on random directions.
Unlike there, patches of both sets are divided by the deviation of the first one, the scans. Each
set by its own would hide what blur removes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

SIDE = 7
"""Voxels of a patch along each axis."""
LEVELS = 3
"""Levels of the pyramid; each has half the resolution of the one before."""
DIRECTIONS = 128
"""Directions on which patches are projected."""
PATCHES = 2**14
"""Patches of a set at each level, about: the images share them."""
MAX_PATCHES = 2**11
"""Patches of an image at each level, at most."""
REGION = 64
"""Voxels of a region along each axis, or all that the image has: larger images are sampled."""
MAX_REGIONS = 4
"""Regions of an image, at most."""
KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The filter of the pyramid along each axis (Burt and Adelson 1983)."""


@dataclass(frozen=True)
class Patches:
    """Patches of images: for each level their `projections` (N, DIRECTIONS), float32.

    `variances` are those of the voxels of the patches, for each level. A level for which an image
    is too small is missing.
    """

    projections: tuple[Tensor, ...]
    variances: tuple[float, ...]


def patches_per_image(images: int) -> int:
    """Return how many patches each of this number of images contributes to a level."""
    return min(MAX_PATCHES, math.ceil(PATCHES / max(images, 1)))


def sample_patches(image: Tensor, count: int, generator: Generator) -> Patches:
    """Return about `count` patches for each level of an image (C, *spatial) in [-1, 1].

    Their places are uniform, and functions of the state of the generator and of the shape alone.
    """
    shape = tuple(image.shape[1:])
    sides = [min(REGION, n) for n in shape]
    regions = min(MAX_REGIONS, math.prod(math.ceil(n / REGION) for n in shape))
    share = math.ceil(count / regions)
    found: list[list[Tensor]] = []
    for _ in range(regions):
        region = image
        for axis, (n, side) in enumerate(zip(shape, sides, strict=True), start=1):
            start = int(torch.randint(n - side + 1, (1,), generator=generator))
            region = region.narrow(axis, start, side)
        for level, band in enumerate(laplacian_pyramid(region.float())):
            if level == len(found):
                found.append([])
            found[level].append(_cut(band, share, generator))
    every = [torch.cat(parts) for parts in found]
    return Patches(
        tuple(_projected(patches) for patches in every),
        tuple(float(patches.double().var(correction=0)) for patches in every),
    )


def sliced_wasserstein(first: Sequence[Patches], second: Sequence[Patches]) -> list[float]:
    """Return the distance between two sets of images for each level that all of them have.

    It is the mean over the directions of the Wasserstein-1 distance, in deviations of the voxels
    of the first set. 0 is the same set; of sets of different sizes the larger one is thinned.
    """
    levels = min((len(image.projections) for image in (*first, *second)), default=0)
    distances = []
    for level in range(levels):
        a, b = (torch.cat([i.projections[level] for i in of]).sort(0)[0] for of in (first, second))
        count = min(len(a), len(b))
        a, b = (_quantiles(values, count) for values in (a, b))
        deviation = math.sqrt(sum(i.variances[level] for i in first) / len(first))
        distance = float((a - b).abs().mean(dtype=torch.float64))
        distances.append(distance / deviation if deviation else math.inf if distance else 0.0)
    return distances


def _quantiles(values: Tensor, count: int) -> Tensor:
    """Return `count` rows of sorted values (N, ...), evenly spaced."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * len(values) / count
    return values[places.long()]


def laplacian_pyramid(image: Tensor) -> list[Tensor]:
    """Return the bands of an image (C, *spatial), the finest first, the last one a blurred image.

    A level exists if it has SIDE voxels along each axis.
    """
    bands: list[Tensor] = []
    while min(image.shape[1:]) >= SIDE:
        smaller = _halved(image)
        if len(bands) == LEVELS - 1 or min(smaller.shape[1:]) < SIDE:
            return [*bands, image]
        bands.append(image - _doubled(smaller, tuple(image.shape[1:])))
        image = smaller
    return bands


def _halved(image: Tensor) -> Tensor:
    for axis in range(1, image.dim()):
        image = _filtered(image, axis, step=2)
    return image


def _doubled(image: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the image with zeros between its voxels, filtered, at twice its resolution."""
    for axis, length in enumerate(shape, start=1):
        wide = image.new_zeros(*image.shape[:axis], length, *image.shape[axis + 1 :])
        places = torch.arange(0, length, 2, device=image.device)
        image = 2 * _filtered(wide.index_copy(axis, places, image), axis)
    return image


def _filtered(image: Tensor, axis: int, step: int = 1) -> Tensor:
    """Return every `step`-th voxel along an axis after KERNEL, mirrored beyond the ends."""
    length = image.shape[axis]
    ends = image.narrow(axis, 1, 2).flip(axis), image.narrow(axis, length - 3, 2).flip(axis)
    padded = torch.cat([ends[0], image, ends[1]], dim=axis)
    planes = padded.movedim(axis, 0)
    first, *others = (planes[n : n + length : step].movedim(0, axis) for n in range(len(KERNEL)))
    total = KERNEL[0] * first
    for weight, part in zip(KERNEL[1:], others, strict=True):
        total.add_(part, alpha=weight)
    return total


def _cut(band: Tensor, count: int, generator: Generator) -> Tensor:
    """Return patches (count, C * SIDE ** n) of a band at uniform places."""
    dims = band.dim() - 1
    windows = band
    for axis in range(1, dims + 1):
        windows = windows.unfold(axis, SIDE, 1)
    sizes = windows.shape[1 : dims + 1]
    places = [torch.randint(n, (count,), generator=generator).to(band.device) for n in sizes]
    index: tuple[slice | Tensor, ...] = slice(None), *places
    return windows[index].transpose(0, 1).reshape(count, -1)


def _projected(patches: Tensor) -> Tensor:
    return (patches @ _directions(patches.shape[1]).to(patches.device)).cpu()


def _directions(length: int) -> Tensor:
    """Return unit vectors (length, DIRECTIONS), the same in every call."""
    drawn = torch.randn(length, DIRECTIONS, generator=Generator().manual_seed(length))
    return drawn / drawn.square().sum(dim=0).sqrt()
