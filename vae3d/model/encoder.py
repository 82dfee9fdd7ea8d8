"""The encoder: from an image to the parameters of its posterior."""

from torch import Tensor, nn

from vae3d.model.blocks import BlockStyle, ResidualBlock, downsample
from vae3d.model.config import LevelSpec
from vae3d.model.convolution import convolution


class Encoder(nn.Module):
    """Stem, then downsampling and residual blocks for each level, then the head.

    With attention in the bottleneck, a residual block, attention and another residual block
    precede the head. `projection` adds a 1x1 convolution after the head.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        levels: list[LevelSpec],
        style: BlockStyle,
        projection: int | None = None,
    ) -> None:
        super().__init__()
        channels = levels[0].channels
        self.stem = convolution(style.spatial_dims, inputs, channels)
        self.levels = nn.ModuleList()
        for level in levels:
            self.levels.append(DownLevel(channels, level, style))
            channels = level.channels
        self.middle = middle(channels, style)
        self.norm, self.activation = style.head_layers(channels)
        self.head = convolution(style.spatial_dims, channels, projection or outputs)
        self.projection = (
            style.convolution(projection, outputs, kernel=1) if projection else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial / factor))."""
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        x = self.head(self.activation(self.norm(self.middle(x))))
        result: Tensor = self.projection(x)
        return result


class DownLevel(nn.Module):
    """Downsampling, then residual blocks; one of the two changes the number of channels."""

    def __init__(self, inputs: int, level: LevelSpec, style: BlockStyle) -> None:
        super().__init__()
        outputs = level.channels if style.widening == "step" else inputs
        self.downsample = downsample(inputs, outputs, level.strides(style.spatial_dims), style)
        self.blocks = residual_blocks(outputs, level, level.blocks, style)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, channels, *(spatial / stride))."""
        result: Tensor = self.blocks(self.downsample(x))
        return result


def residual_blocks(inputs: int, level: LevelSpec, count: int, style: BlockStyle) -> nn.Module:
    """Return `count` residual blocks, each followed by the level's attention, if it has any.

    With `count` 0, a 1x1 convolution still changes the number of channels.
    """
    channels = level.channels
    if count == 0 and inputs != channels:
        return style.convolution(inputs, channels, kernel=1)
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(ResidualBlock(channels if index else inputs, channels, style))
        if level.attention != "none":
            layers.append(style.attention_layer(level.attention, channels))
    return nn.Sequential(*layers)


def middle(channels: int, style: BlockStyle) -> nn.Module:
    """Return the layers between the deepest level and the latent.

    Attention between two residual blocks, or an identity if the bottleneck has no attention.
    """
    kind = style.attention.bottleneck
    if kind == "none":
        return nn.Identity()
    return nn.Sequential(
        ResidualBlock(channels, channels, style),
        style.attention_layer(kind, channels),
        ResidualBlock(channels, channels, style),
    )
