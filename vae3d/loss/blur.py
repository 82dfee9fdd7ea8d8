"""`smooth`: what lies under a Gaussian window, axis by axis."""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.model.convolution import computes_in_float32

WINDOW = 11
SIGMA = 1.5
BLOCK = 32
"""Voxels of a row that one matrix product makes: a wider one multiplies more zeros, a narrower one
keeps fewer lanes busy."""

Weights = tuple[float, ...]


def smooth(image: Tensor) -> Tensor:
    """(B, C, *spatial) averaged under the window, axis by axis, without its border."""
    for axis in range(2, image.dim()):
        window = _weights(image.shape[axis])
        if len(window) > 1:
            image = _Smoothed.apply(image, axis, window)  # type: ignore[no-untyped-call]
    return image


def gaussian_window(length: int) -> Tensor:
    """The normalised window for an axis of this length, in float64."""
    size = min(WINDOW, length - 1 + length % 2)
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    weight = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    return weight / weight.sum()


@functools.cache
def _weights(length: int) -> Weights:
    return tuple(gaussian_window(length).tolist())


class _Smoothed(torch.autograd.Function):
    """A weighted sum of neighbours along one axis."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, axis: int, window: Weights) -> Tensor:
        ctx.axis, ctx.window = axis, window
        return weighted_sum(image, axis, window)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        # The window is symmetric: what went out of a voxel comes back the same way.
        border = [0] * (2 * (gradient.dim() - ctx.axis - 1)) + [len(ctx.window) - 1] * 2
        return weighted_sum(F.pad(gradient, border), ctx.axis, ctx.window), None, None


def weighted_sum(image: Tensor, axis: int, window: Weights) -> Tensor:
    """The neighbours along an axis of (B, C, *spatial) times a symmetric window, summed.

    Shifted views added up are read and written once for every weight: where oneDNN can be used,
    it and a matrix product keep the sum in a register instead.
    """
    if not image.is_cpu or not computes_in_float32(image):
        return shifted_sum(image, axis, window)
    return (_along_rows if axis == image.dim() - 1 else _across_rows)(image, axis, window)


def shifted_sum(image: Tensor, axis: int, window: Weights) -> Tensor:
    """The same as a sum of shifted views, for any type and device."""
    length = image.shape[axis] - len(window) + 1
    total = image.narrow(axis, 0, length) * window[0]
    for start, weight in enumerate(window[1:], start=1):
        total.add_(image.narrow(axis, start, length), alpha=weight)
    return total


def _across_rows(image: Tensor, axis: int, window: Weights) -> Tensor:
    """A depthwise convolution whose channels are the voxels of a row, which lie side by side."""
    height, width = image.shape[-2:]
    planes = image.reshape(-1, image.shape[2] if image.dim() == 5 else 1, height, width)
    kernel = image.new_tensor(window).expand(width, 1, -1)
    down = axis == image.dim() - 2
    summed = torch.mkldnn_convolution(
        planes.permute(0, 3, 1, 2),
        kernel.unsqueeze(2 if down else 3),
        None, (0, 0), (1, 1), (1, 1), width,
    )  # fmt: skip
    shape = list(image.shape)
    shape[axis] -= len(window) - 1
    return summed.permute(0, 2, 3, 1).reshape(shape)


def _along_rows(image: Tensor, axis: int, window: Weights) -> Tensor:
    """Products of pieces of the rows with a band matrix."""
    rows, border = image.reshape(-1, image.shape[-1]), len(window) - 1
    band = _band(window)
    summed = image.new_empty(len(rows), image.shape[-1] - border)
    for start in range(0, summed.shape[1], BLOCK):
        part = summed[:, start : start + BLOCK]
        count = part.shape[1]
        piece = rows[:, start : start + count + border]
        torch.mm(piece, band[: count + border, :count], out=part)
    return summed.view(*image.shape[:-1], -1)


@functools.cache
def _band(window: Weights) -> Tensor:
    """(BLOCK + border, BLOCK) in float32, the window one further down in every column."""
    band = torch.zeros(BLOCK + len(window) - 1, BLOCK)
    for column in range(BLOCK):
        band[column : column + len(window), column] = torch.tensor(window)
    return band
