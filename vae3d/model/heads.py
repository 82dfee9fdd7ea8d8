"""The decoder's head: a convolution that paints blocks of voxels, or overlapping windows."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.layers.convolution import SafeConv3d, convolution
from vae3d.model.blocks import init_icnr
from vae3d.model.config import VAEConfig
from vae3d.model.sizes import with_edges


class OverlapHead2d(nn.Conv2d):
    """`OverlapHead3d` for images."""

    def __init__(self, inputs: int, outputs: int, patches: tuple[int, ...]) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.patches = patches

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, inputs, *cells) to folded images (B, C * prod(patches), *cells)."""
        return inner(super().forward(extended(input)))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        windowed = weight * window_of(self.patches, weight)
        result: Tensor = super()._conv_forward(input, windowed, bias)
        return result


class OverlapHead3d(SafeConv3d):
    """A convolution of kernel 3 whose cells paint windows that overlap, instead of blocks.

    The weights of a voxel are multiplied by a window that falls linearly from its own cell to
    the cells next to it. Each cell of `patches` voxels then paints twice as many along each axis,
    and the windows of all cells add up to one at every voxel (overlap-add). At the borders of the
    image the outermost cell is repeated. This is a transposed convolution of stride `patches` and
    twice that kernel, computed on the grid of the cells.
    """

    def __init__(self, inputs: int, outputs: int, patches: tuple[int, ...]) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.patches = patches

    @property
    def kernel(self) -> Tensor:
        """The weights times their windows."""
        return self.weight * window_of(self.patches, self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *cells) to folded images (B, C * prod(patches), *cells)."""
        return inner(super().forward(extended(x)))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = super()._conv_forward(input, self.kernel, bias)
        return result


OVERLAP_HEADS: dict[int, type[OverlapHead2d] | type[OverlapHead3d]] = {
    2: OverlapHead2d,
    3: OverlapHead3d,
}


def head_of(inputs: int, config: VAEConfig) -> nn.Module:
    """Return the output convolution of a decoder, to folded images (B, C * prod(patches), ...)."""
    outputs = config.in_channels * math.prod(config.patches)
    if config.head_overlap:
        return OVERLAP_HEADS[config.dims](inputs, outputs, config.patches)
    return convolution(config.dims, inputs, outputs, config.head_kernel)


@torch.no_grad()
def init_head(head: Any, config: VAEConfig) -> None:
    """Initialise a head so that the image starts as interpolation of a coarser one.

    Nearest interpolation, or linear where cells overlap: with overlapping windows all weights of
    a channel in a window are equal, with wavelets those of the details are zero.
    """
    parts = math.prod(config.patches)
    if config.folding != "blocks":
        for parameter in (head.weight, head.bias):
            parameter.unflatten(0, (-1, parts))[:, 1:] = 0
        return
    if config.head_overlap:
        folded = [axis for axis, side in enumerate(config.patches, start=2) if side > 1]
        # The sum has the variance of the output of a whole kernel.
        head.weight.copy_(head.weight.sum(dim=folded, keepdim=True).expand_as(head.weight))
    init_icnr(head, parts)


def window_of(patches: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the window (outputs, 1, *(3,) * dims) of the weights `like` of each voxel of a cell.

    Along an axis of p voxels a cell, voxel n is at u = (n + 1/2) / p - 1/2 of its cell's side
    from its centre, and the cell k = -1, 0, 1 has the weight max(0, 1 - |u - k|). An axis that is
    not folded has none.
    """
    window = like.new_ones(1, 1)
    for side in patches:
        along = like.new_ones(1, 3)
        if side > 1:
            voxels = (torch.arange(side, device=like.device) + 0.5) / side - 0.5
            cells = torch.arange(-1, 2, device=like.device)
            along = (1 - (voxels[:, None] - cells).abs()).clamp(min=0).to(like.dtype)
        window = window[:, None, :, None] * along[None, :, None, :]
        window = window.flatten(0, 1).flatten(1, 2)
    dims = len(patches)
    return window.reshape(-1, 1, *(3,) * dims).repeat(len(like) // len(window), *(1,) * (dims + 1))


def extended(x: Tensor) -> Tensor:
    """Return x (B, C, *cells) with its outermost cells repeated once at each end of each axis."""
    for axis in range(x.dim() - 2):
        x = with_edges(x, axis, 1, 1)
    return x


def inner(x: Tensor) -> Tensor:
    """Return x (B, C, *cells) without its outermost cells: what `extended` added."""
    for axis in range(2, x.dim()):
        x = x.narrow(axis, 1, x.shape[axis] - 2)
    return x
