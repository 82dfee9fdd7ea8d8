"""`decoder_reach`: how far around a latent voxel the decoder looks, exactly."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from vae3d.layers.norms import SampleDropout
from vae3d.model.blocks import PixelShuffleUpsample, ResidualBlock
from vae3d.model.config import VAEConfig
from vae3d.model.shortcuts import UpShortcut
from vae3d.model.vae import VAE
from vae3d.model.wavelets import LiftingStep
from vae3d.streaming.network import is_pointwise

Span = tuple[int, int]
"""The first and the last voxel of an interval along one axis."""


def decoder_reach(config: VAEConfig) -> tuple[int, ...] | None:
    """Return the latent voxels on each side, along each axis, on which a voxel's image depends.

    With that many latent voxels around a box the image of the box is that of the whole latent.
    None if a norm or attention depends on the whole latent, or on where its windows begin.
    """
    with torch.device("meta"):
        model = VAE(config)
    reach = []
    for axis in range(config.dims):
        # The image of one latent voxel, from its first to its last voxel.
        span: Span | None = _coarser((0, model.factor[axis] - 1), config.patches[axis])
        for layer in reversed([*model.decoder]):
            span = span and _before(layer, span, axis)
        if span is None:
            return None
        reach.append(max(-span[0], span[1]))
    return tuple(reach)


def _before(module: nn.Module, span: Span, axis: int) -> Span | None:
    """Return the input of a module on which this span of its output depends."""
    if is_pointwise(module):
        return span
    for kind, before in BEFORE.items():
        if isinstance(module, kind):
            return before(module, span, axis)
    return None


def _convolution(conv: Any, span: Span, axis: int) -> Span:
    padding = conv.padding[axis]
    return span[0] - padding, span[1] - padding + conv.kernel_size[axis] - 1


def _sequential(modules: Any, span: Span, axis: int) -> Span | None:
    found: Span | None = span
    for module in reversed([*modules]):
        found = found and _before(module, found, axis)
    return found


def _residual(block: ResidualBlock, span: Span, axis: int) -> Span | None:
    """Return what the main path depends on; the skip depends on less."""
    return _sequential([block.norm1, block.conv1, block.norm2, block.conv2], span, axis)


def _interpolated(layer: Any, span: Span, axis: int) -> Span:
    factor = int(layer.scale_factor[axis])
    if layer.mode == "nearest" or factor == 1:
        return _coarser(span, factor)
    # Linear: the two voxels around (n + 1/2) / factor - 1/2, in halves of a voxel.
    first, last = ((2 * n + 1 - factor) // (2 * factor) for n in span)
    return first, last + 1


def _shuffled(module: PixelShuffleUpsample, span: Span, axis: int) -> Span:
    return _convolution(module.conv, _coarser(span, module.factor[axis]), axis)


def _lifting(step: LiftingStep, span: Span, axis: int) -> Span:
    if step.axis != axis:
        return span
    return span[0] + min(0, step.neighbour), span[1] + max(0, step.neighbour)


def _coarser(span: Span, factor: int) -> Span:
    return span[0] // factor, span[1] // factor


def _same(module: nn.Module, span: Span, axis: int) -> Span:
    return span


BEFORE: dict[type[nn.Module], Callable[[Any, Span, int], Span | None]] = {
    nn.Identity: _same,
    SampleDropout: _same,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose2d: lambda conv, span, axis: _coarser(span, conv.stride[axis]),
    nn.ConvTranspose3d: lambda conv, span, axis: _coarser(span, conv.stride[axis]),
    nn.Upsample: _interpolated,
    PixelShuffleUpsample: _shuffled,
    ResidualBlock: _residual,
    LiftingStep: _lifting,
    # Its shortcut depends on less.
    UpShortcut: lambda module, span, axis: _before(module.main, span, axis),
    nn.Sequential: _sequential,
}
"""What a span of the output of each type of module depends on; the first that fits is taken."""
