"""Losses that compare what a Fourier transform or an edge filter finds, in 2D and 3D."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

EAGLE_PATCH = 3
EAGLE_CUTOFF = 0.5
_SMOOTHING = (3 / 16, 10 / 16, 3 / 16)
_DIFFERENCE = (-1.0, 0.0, 1.0)


def gradient(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbours, over all axes, (B,).

    The gradient difference loss of Mathieu et al. 2016 (arXiv:1511.05440, equation 6) with an
    exponent of one, signs kept. An axis of one voxel has no neighbours.
    """
    error = reconstruction - image
    errors = [
        error.diff(dim=axis).abs().flatten(1).mean(dim=1)
        for axis in range(2, error.dim())
        if error.shape[axis] > 1
    ]
    return torch.stack(errors).mean(dim=0) if errors else error.flatten(1).sum(dim=1) * 0


def focal_frequency(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Squared error of the spectra, weighted by its own size, (B,).

    Jiang et al. 2021 (arXiv:2012.12821, equations 8 and 10) with alpha 1: frequencies that are
    hard weigh more. Over all spatial axes, orthonormal, the weight scaled to a maximum of one.
    """
    axes = tuple(range(2, image.dim()))
    error = torch.fft.fftn(reconstruction - image, dim=axes, norm="ortho").abs()
    weight = error.detach()
    largest = weight.amax(dim=axes, keepdim=True).clamp(min=1e-12)
    weighted: Tensor = weight / largest * error.square()
    return weighted.flatten(1).mean(dim=1)


def eagle(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Absolute error of the spectra of local gradient variance, (B,).

    EAGLE (Sun et al. 2024, arXiv:2403.08695): Scharr gradients along each axis, their variance in
    cells of 3 voxels a side, its spectrum weighted around half the sampling frequency. The
    paper's filters are for images; here each is the product of a difference along one axis and a
    smoothing along the others. An axis thinner than a cell is one cell.
    """
    found, wanted = (_variance_spectra(x) for x in (reconstruction, image))
    errors = [(f - w).abs().flatten(1).mean(dim=1) for f, w in zip(found, wanted, strict=True)]
    return torch.stack(errors).sum(dim=0)


def _variance_spectra(image: Tensor) -> Iterator[Tensor]:
    axes = tuple(range(2, image.dim()))
    for axis in axes:
        edges = image
        for other in axes:
            edges = _filtered(edges, other, _DIFFERENCE if other == axis else _SMOOTHING)
        cells = _cell_variance(edges)
        spectrum = torch.fft.fftn(cells, dim=axes)
        magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-8).sqrt()
        yield magnitude * _high_pass(tuple(cells.shape[2:])).to(magnitude)


def _filtered(image: Tensor, axis: int, kernel: tuple[float, ...]) -> Tensor:
    """Correlation with a kernel of three along one axis, the border's voxels repeated."""
    length = image.shape[axis]
    padded = torch.cat([image.narrow(axis, 0, 1), image, image.narrow(axis, length - 1, 1)], axis)
    parts = [w * padded.narrow(axis, i, length) for i, w in enumerate(kernel) if w]
    return torch.stack(parts).sum(dim=0)


def _cell_variance(image: Tensor) -> Tensor:
    """Variance in cells of EAGLE_PATCH voxels a side; what is left over at the end is dropped."""
    sides = [min(EAGLE_PATCH, n) for n in image.shape[2:]]
    pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(sides)]
    mean = pool(image, sides)
    count = 1
    for side in sides:
        count *= side
    variance = (pool(image.square(), sides) - mean.square()).clamp(min=0)
    return variance * (count / max(1, count - 1))


def _high_pass(size: tuple[int, ...]) -> Tensor:
    """A Gaussian around a distance of EAGLE_CUTOFF from frequency zero (1 is the sampling's)."""
    squares = [torch.fft.fftfreq(n).square() for n in size]
    distance = torch.zeros(size)
    for axis, square in enumerate(squares):
        distance = distance + square.reshape([-1 if d == axis else 1 for d in range(len(size))])
    return torch.exp(-0.5 * (distance.sqrt() - EAGLE_CUTOFF).square())
