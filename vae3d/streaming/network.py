"""The streams of a network, built from its own modules: the weights are shared."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.layers.attention import Attention
from vae3d.layers.convolution import convolved
from vae3d.layers.folding import pixel_shuffle
from vae3d.layers.norms import LayerNorm, RMSNorm, SampleDropout
from vae3d.model.blocks import (
    EndPaddedDownsample,
    PixelShuffleUpsample,
    ResidualBlock,
)
from vae3d.model.config import ACTIVATIONS
from vae3d.model.heads import OverlapHead2d, OverlapHead3d
from vae3d.model.shortcuts import DownShortcut, UpShortcut
from vae3d.model.wavelets import LiftingStep
from vae3d.streaming.stream import Chain, Pointwise, Residual, Stream, Sum
from vae3d.streaming.windows import Gather, MeasuredNorm, SlidingWindow, TiledWindows

POINTWISE_NORMS: tuple[type, ...] = (LayerNorm, RMSNorm, nn.BatchNorm2d, nn.BatchNorm3d)
"""Norms that, in eval mode, compute each voxel from its own channels alone."""


def is_pointwise(module: nn.Module) -> bool:
    """Return whether a module computes each voxel from its own channels alone."""
    # Read at each call: plugins add activations to the table.
    return isinstance(
        module, (*POINTWISE_NORMS, *(type(build()) for build in ACTIVATIONS.values()))
    )


def chain_of(network: nn.Module) -> Chain:
    """Return the stream of an `Encoder` or a `Decoder` in eval mode.

    Raises:
        ConfigError: the network has a layer that cannot be streamed.
    """
    return Chain(streams_of(network))


def count_measured_norms(network: nn.Module) -> int:
    """Return the number of norms over the whole volume, each of which adds a pass."""
    return sum(isinstance(module, nn.GroupNorm) for module in network.modules())


def streams_of(module: nn.Module) -> list[Stream]:
    """Return the streams of a module, in order; none if it is an identity.

    Raises:
        ConfigError: the module cannot be streamed.
    """
    if is_pointwise(module):
        return [Pointwise(module)]
    for kind, build in STREAMS.items():
        if isinstance(module, kind):
            return build(module)
    raise ConfigError(
        f"a {type(module).__name__} cannot be streamed slab by slab; "
        "use memory=null (in one pass) or patches"
    )


def _sequential(modules: Iterable[nn.Module]) -> list[Stream]:
    """Return the streams of modules that follow each other."""
    return [stream for module in modules for stream in streams_of(module)]


def _convolution(conv: Any) -> list[Stream]:
    if max(conv.kernel_size) == 1 and max(conv.stride) == 1:
        return [Pointwise(conv)]
    depth, *rest = conv.padding
    # The stream pads the first axis, at the ends of the volume only.
    layer = partial(convolved, conv, padding=(0, *rest))
    return [SlidingWindow(layer, conv.kernel_size[0], conv.stride[0], (depth, depth))]


def _transposed(conv: Any) -> list[Stream]:
    assert conv.kernel_size == conv.stride, "output planes do not overlap"
    return [Pointwise(conv)]


def _end_padded(module: EndPaddedDownsample) -> list[Stream]:
    conv = module.conv
    # Padding counts axes from the last one, so that the first axis is at the end.
    *rest, before, after = module.pad.padding

    def layer(x: Tensor) -> Tensor:
        return convolved(conv, F.pad(x, rest), padding=conv.padding)

    return [SlidingWindow(layer, conv.kernel_size[0], conv.stride[0], (before, after))]


def _interpolated(layer: Any) -> list[Stream]:
    factor = int(layer.scale_factor[0])
    if layer.mode == "nearest" or factor == 1:
        return [Pointwise(layer)]

    def inner(x: Tensor) -> Any:
        return layer(x)[:, :, factor:-factor]

    # At the borders torch repeats the outermost plane.
    return [SlidingWindow(inner, 3, border=(1, 1), replicate=True)]


def _shuffled(module: PixelShuffleUpsample) -> list[Stream]:
    return [*streams_of(module.conv), Pointwise(partial(pixel_shuffle, factor=module.factor))]


def _residual(block: ResidualBlock) -> list[Stream]:
    act = block.activation
    main = [block.norm1, act, block.conv1, block.norm2, act, block.dropout, block.conv2]
    return [Residual(Chain(_sequential(main)), block.skip, block.scale)]


def _down_shortcut(module: DownShortcut) -> list[Stream]:
    planes = module.stride[0]
    shortcut = SlidingWindow(module.shortcut, planes, planes)
    return [Sum(Chain(streams_of(module.main)), Chain([shortcut]))]


def _up_shortcut(module: UpShortcut) -> list[Stream]:
    return [Sum(Chain(streams_of(module.main)), Chain([Pointwise(module.shortcut)]))]


def _overlapping(head: Any) -> list[Stream]:
    # The head repeats the outermost cells itself, as if every slab were a volume of its own.
    return [SlidingWindow(lambda x: head(x)[:, :, 1:-1], 3, border=(1, 1), replicate=True)]


def _lifting(step: LiftingStep) -> list[Stream]:
    if step.axis or not step.neighbour:
        return [Pointwise(step)]
    border = (max(0, -step.neighbour), max(0, step.neighbour))
    return [SlidingWindow(step.within, 2, border=border, replicate=True)]


def _attention(module: Attention) -> list[Stream]:
    window = module.window
    mixed = TiledWindows(module.mixed, window[0]) if window else Gather(module.mixed)
    return [Residual(Chain([*streams_of(module.norm), mixed]), nn.Identity())]


STREAMS: dict[type[nn.Module], Callable[[Any], list[Stream]]] = {
    nn.Identity: lambda module: [],
    SampleDropout: lambda module: [],
    nn.GroupNorm: lambda module: [MeasuredNorm(module)],
    OverlapHead2d: _overlapping,
    OverlapHead3d: _overlapping,
    LiftingStep: _lifting,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    EndPaddedDownsample: _end_padded,
    nn.Upsample: _interpolated,
    PixelShuffleUpsample: _shuffled,
    ResidualBlock: _residual,
    DownShortcut: _down_shortcut,
    UpShortcut: _up_shortcut,
    Attention: _attention,
    nn.Sequential: _sequential,
}
"""The function that builds the streams of each type of module; the first that fits is taken."""
