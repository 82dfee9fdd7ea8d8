"""Losses on gradients and Fourier spectra, in 2D and 3D."""

import functools
import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

EAGLE_PATCH = 3
"""Voxels along a side of the cells of `eagle`."""
EAGLE_CUTOFF = 0.5
"""Frequency around which `eagle` weights spectra, in units of the sampling frequency."""
_SMOOTHING = (3 / 16, 10 / 16, 3 / 16)
_DIFFERENCE = (-1.0, 0.0, 1.0)


def gradient(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean absolute error of the differences between neighbours, (B,).

    The gradient difference loss of Mathieu et al. 2016 (arXiv:1511.05440, equation 6) with an
    exponent of one, signs kept, averaged over the axes. An axis of one voxel is left out.
    """
    error = reconstruction - image
    errors = [
        error.diff(dim=axis).abs().flatten(1).mean(dim=1)
        for axis in range(2, error.dim())
        if error.shape[axis] > 1
    ]
    return torch.stack(errors).mean(dim=0) if errors else error.flatten(1).sum(dim=1) * 0


def focal_frequency(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the squared error of the spectra, weighted by its own magnitude, (B,).

    The focal frequency loss of Jiang et al. 2021 (arXiv:2012.12821, equations 8 and 10) with
    alpha 1: frequencies of larger error have a larger weight. The transform is orthonormal, over
    all spatial axes. The weight is scaled to a maximum of one and has no gradient.
    """
    axes = tuple(range(2, image.dim()))
    error = torch.fft.fftn(reconstruction - image, dim=axes, norm="ortho").abs()
    weight = error.detach()
    largest = weight.amax(dim=axes, keepdim=True).clamp(min=1e-12)
    weighted: Tensor = weight / largest * error.square()
    return weighted.flatten(1).mean(dim=1)


def eagle(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the absolute error of the spectra of the local gradient variance, (B,).

    EAGLE (Sun et al. 2024, arXiv:2403.08695): Scharr gradients along each axis, their variance in
    cells of 3 voxels a side, its spectrum weighted around half the sampling frequency. The
    paper's filters are two-dimensional. Here each filter is the product of a difference along one
    axis and a smoothing along the others. An axis thinner than a cell is one cell.
    """
    spectra, targets = (_variance_spectra(x) for x in (reconstruction, image))
    errors = [(a - b).abs().flatten(1).mean(dim=1) for a, b in zip(spectra, targets, strict=True)]
    return torch.stack(errors).sum(dim=0)


def _variance_spectra(image: Tensor) -> Iterator[Tensor]:
    """Return the weighted spectrum of the gradient variance along each axis."""
    axes = tuple(range(2, image.dim()))
    for axis in axes:
        edges = image
        for other in axes:
            edges = _filter_axis(edges, other, _DIFFERENCE if other == axis else _SMOOTHING)
        cells = _cell_variance(edges)
        spectrum = torch.fft.fftn(cells, dim=axes)
        # The constant keeps the gradient of the root finite where a spectrum is zero.
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()
        yield magnitude * _high_pass_on(magnitude.device, tuple(cells.shape[2:])).to(magnitude)


def _filter_axis(image: Tensor, axis: int, kernel: tuple[float, ...]) -> Tensor:
    """Return the correlation with a kernel of three along one axis, with replicated borders."""
    length = image.shape[axis]
    padded = torch.cat([image.narrow(axis, 0, 1), image, image.narrow(axis, length - 1, 1)], axis)
    parts = [w * padded.narrow(axis, i, length) for i, w in enumerate(kernel) if w]
    return torch.stack(parts).sum(dim=0)


def _cell_variance(image: Tensor) -> Tensor:
    """Return the variance in cells of EAGLE_PATCH voxels a side; incomplete cells are dropped."""
    sides = [min(EAGLE_PATCH, n) for n in image.shape[2:]]
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(sides)]
    mean = pool(image, sides)
    count = math.prod(sides)
    variance = (pool(image.square(), sides) - mean.square()).clamp(min=0)
    return variance * (count / max(1, count - 1))


@functools.lru_cache(maxsize=8)
def _high_pass_on(device: torch.device, size: tuple[int, ...]) -> Tensor:
    """Return `_high_pass` on a device: each copy would make a GPU wait."""
    return _high_pass(size).to(device)


def _high_pass(size: tuple[int, ...]) -> Tensor:
    """Return the weight of each frequency: a Gaussian of its distance from EAGLE_CUTOFF.

    Frequencies are in units of the sampling frequency.
    """
    squares = torch.meshgrid(*(torch.fft.fftfreq(n).square() for n in size), indexing="ij")
    distance = torch.stack(squares).sum(dim=0).sqrt()
    return torch.exp(-0.5 * (distance - EAGLE_CUTOFF).square())
