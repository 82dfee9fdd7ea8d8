"""The streams of a network, by walking its own modules: the weights are shared."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.model.attention import Attention
from vae3d.model.blocks import (
    EndPaddedDownsample,
    InterpolatedUpsample,
    PixelShuffleUpsample,
    ResidualBlock,
    pixel_shuffle,
)
from vae3d.model.config import ACTIVATIONS
from vae3d.model.convolution import convolved
from vae3d.model.decoder import Decoder, UpLevel
from vae3d.model.encoder import DownLevel, Encoder
from vae3d.model.layers import LayerNorm, RMSNorm, SampleDropout
from vae3d.streaming.norms import MeasuredNorm
from vae3d.streaming.stream import Chain, Pointwise, Residual, Stream
from vae3d.streaming.windows import Gathered, Rows, Sliding

POINTWISE_NORMS: tuple[type, ...] = (LayerNorm, RMSNorm, nn.BatchNorm2d, nn.BatchNorm3d)
"""Norms that, in eval mode, make each voxel of its own channels."""


def is_pointwise(module: nn.Module) -> bool:
    """Whether each voxel is made of its own channels: those norms, and every activation."""
    # The table may have grown since by the activations of plugins.
    return isinstance(
        module, (*POINTWISE_NORMS, *(type(build()) for build in ACTIVATIONS.values()))
    )


def chain_of(network: nn.Module) -> Chain:
    """The network, an `Encoder` or a `Decoder` in eval mode, slab by slab.

    Raises:
        ConfigError: it has a layer that cannot be streamed.
    """
    return Chain(streams_of(network))


def norms_of(network: nn.Module) -> int:
    """How many norms need the whole volume: so many passes come before the last."""
    return sum(isinstance(module, nn.GroupNorm) for module in network.modules())


def streams_of(module: nn.Module) -> list[Stream]:
    """The streams that a module is, in order; none where it changes nothing.

    Raises:
        ConfigError: there are none for such a module.
    """
    if is_pointwise(module):
        return [Pointwise(module)]
    for kind, build in STREAMS.items():
        if isinstance(module, kind):
            return build(module)
    raise ConfigError(
        f"a {type(module).__name__} cannot be streamed slab by slab; "
        "take memory=null (all at once), or patches"
    )


def in_a_row(modules: Iterable[nn.Module]) -> list[Stream]:
    """The streams of one module after the other."""
    return [stream for module in modules for stream in streams_of(module)]


def _convolution(conv: Any) -> list[Stream]:
    if max(conv.kernel_size) == 1 and max(conv.stride) == 1:
        return [Pointwise(conv)]
    ahead, *aside = conv.padding
    layer = partial(convolved, conv, padding=(0, *aside))
    return [Sliding(layer, conv.kernel_size[0], conv.stride[0], (ahead, ahead))]


def _transposed(conv: Any) -> list[Stream]:
    assert conv.kernel_size == conv.stride, "no two planes meet in one"
    return [Pointwise(conv)]


def _end_padded(module: EndPaddedDownsample) -> list[Stream]:
    *aside, before, after = module.overhang
    conv: Any = module.conv

    def layer(x: Tensor) -> Tensor:
        return convolved(conv, F.pad(x, aside), padding=conv.padding)

    return [Sliding(layer, conv.kernel_size[0], conv.stride[0], (before, after))]


def _interpolated(module: InterpolatedUpsample) -> list[Stream]:
    factor = module.factor[0]

    def between(x: Tensor) -> Tensor:
        return module.interpolated(x)[:, :, factor:-factor]

    if module.mode == "nearest" or factor == 1:
        first: Stream = Pointwise(module.interpolated)
    else:
        # At the borders torch takes the outermost plane for the one past it.
        first = Sliding(between, 3, border=(1, 1), replicate=True)
    return [first, *streams_of(module.conv)]


def _shuffled(module: PixelShuffleUpsample) -> list[Stream]:
    return [*streams_of(module.conv), Pointwise(partial(pixel_shuffle, factor=module.factor))]


def _residual(block: ResidualBlock) -> list[Stream]:
    act = block.activation
    main = [block.norm1, act, block.conv1, block.norm2, act, block.dropout, block.conv2]
    return [Residual(Chain(in_a_row(main)), block.skip, block.scale)]


def _attention(module: Attention) -> list[Stream]:
    mixed: Stream = Gathered(module.mixed)
    if module.window is not None:
        mixed = Rows(module.mixed, module.window[0])
    return [Residual(Chain([*streams_of(module.norm), mixed]), nn.Identity())]


def _encoder(encoder: Encoder) -> list[Stream]:
    head = [encoder.norm, encoder.activation, encoder.head, encoder.projection]
    return in_a_row([encoder.stem, *encoder.levels, encoder.middle, *head])


def _decoder(decoder: Decoder) -> list[Stream]:
    head = [decoder.norm, decoder.activation, decoder.head, decoder.final_activation]
    return in_a_row([decoder.projection, decoder.stem, decoder.middle, *decoder.levels, *head])


STREAMS: dict[type[nn.Module], Callable[[Any], list[Stream]]] = {
    nn.Identity: lambda module: [],
    SampleDropout: lambda module: [],
    nn.GroupNorm: lambda module: [MeasuredNorm(module)],
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose2d: _transposed,
    nn.ConvTranspose3d: _transposed,
    EndPaddedDownsample: _end_padded,
    InterpolatedUpsample: _interpolated,
    PixelShuffleUpsample: _shuffled,
    ResidualBlock: _residual,
    Attention: _attention,
    nn.Sequential: in_a_row,
    DownLevel: lambda level: in_a_row([level.downsample, level.blocks]),
    UpLevel: lambda level: in_a_row([level.blocks, level.upsample]),
    Encoder: _encoder,
    Decoder: _decoder,
}
"""What each kind of module is, slab by slab."""
