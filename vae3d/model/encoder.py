"""The encoder: from an image to the parameters of its posterior."""

import math
from collections.abc import Iterator

from torch import nn

from vae3d.layers.convolution import convolution
from vae3d.model.blocks import (
    ResidualBlock,
    attention_layer,
    channel_projection,
    downsample,
    head_layers,
)
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.wavelets import folding


class Layers(nn.Sequential):
    """Layers that are called in the order in which they are set, those of a ModuleList one by one.

    A Sequential inside another one would keep its input in memory until its last layer.
    """

    def __iter__(self) -> Iterator[nn.Module]:
        for layer in super().__iter__():
            yield from layer if isinstance(layer, nn.ModuleList) else (layer,)


class Encoder(Layers):
    """Stem, then downsampling and residual blocks for each level, then the head.

    Maps folded images (B, C * prod(patches), *spatial) to (B, parameters, *latent), by its layers
    in the order in which they are set. With attention in the bottleneck, a residual block,
    attention and another residual block precede the head. `projection` adds a 1x1 convolution
    after the head, a `folding` by wavelets their transform before the stem.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        dims, latent = config.dims, config.latent_channels
        outputs = 2 * latent if config.variance == "learned" else latent
        channels = config.levels[0].channels
        self.fold = folding(config)
        self.stem = convolution(dims, config.in_channels * math.prod(config.patches), channels)
        self.levels = nn.ModuleList()
        for level in config.levels:
            self.levels.append(DownLevel(channels, level, config))
            channels = level.channels
        self.middle = middle(channels, config)
        self.norm, self.activation = head_layers(channels, config)
        self.head = convolution(dims, channels, latent if config.projection else outputs)
        self.projection = (
            convolution(dims, latent, outputs, kernel=1) if config.projection else nn.Identity()
        )


class DownLevel(nn.Sequential):
    """Downsampling, then residual blocks; one of the two changes the number of channels.

    Maps (B, inputs, *spatial) to (B, channels, *(spatial / stride)).
    """

    def __init__(self, inputs: int, level: LevelSpec, config: VAEConfig) -> None:
        super().__init__()
        outputs = level.channels if config.widening == "step" else inputs
        self.downsample = downsample(inputs, outputs, level.strides(config.dims), config)
        self.blocks = residual_blocks(outputs, level, level.blocks, config)


def residual_blocks(inputs: int, level: LevelSpec, count: int, config: VAEConfig) -> nn.Module:
    """Return `count` residual blocks, each followed by the level's attention, if it has any.

    With `count` 0, a 1x1 convolution still changes the number of channels.
    """
    channels = level.channels
    if count == 0:
        return channel_projection(inputs, channels, config)
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(ResidualBlock(channels if index else inputs, channels, config))
        if level.attention != "none":
            layers.append(attention_layer(level.attention, channels, config))
    return nn.Sequential(*layers)


def middle(channels: int, config: VAEConfig) -> nn.Module:
    """Return the layers between the deepest level and the latent.

    Attention between two residual blocks, or an identity if the bottleneck has no attention.
    """
    kind = config.attention.bottleneck
    if kind == "none":
        return nn.Identity()
    return nn.Sequential(
        ResidualBlock(channels, channels, config),
        attention_layer(kind, channels, config),
        ResidualBlock(channels, channels, config),
    )
