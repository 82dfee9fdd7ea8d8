"""The encoder: an image to the parameters of its posterior."""

from torch import Tensor, nn

from vae3d.model.blocks import BlockStyle, ResidualBlock, downsample
from vae3d.model.layers import convolution
from vae3d.model.levels import LevelSpec


class Encoder(nn.Module):
    """Stem, then for each level a step down and residual blocks, then the head."""

    def __init__(
        self, inputs: int, outputs: int, levels: list[LevelSpec], style: BlockStyle
    ) -> None:
        super().__init__()
        channels = levels[0].channels
        self.stem = convolution(style.spatial_dims, inputs, channels)
        self.levels = nn.ModuleList()
        for level in levels:
            stride = level.strides(style.spatial_dims)
            self.levels.append(DownLevel(channels, level, stride, style))
            channels = level.channels
        self.norm = style.norm_layer(channels)
        self.activation = style.activation_layer()
        self.head = convolution(style.spatial_dims, channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *(spatial / factor))."""
        x = self.stem(x)
        for level in self.levels:
            x = level(x)
        result: Tensor = self.head(self.activation(self.norm(x)))
        return result


class DownLevel(nn.Module):
    """A step down, then the blocks; the first block changes the number of channels."""

    def __init__(
        self, inputs: int, level: LevelSpec, stride: tuple[int, ...], style: BlockStyle
    ) -> None:
        super().__init__()
        self.downsample = downsample(inputs, stride, style)
        self.blocks = residual_blocks(inputs, level.channels, level.blocks, style)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, channels, *(spatial / stride))."""
        result: Tensor = self.blocks(self.downsample(x))
        return result


def residual_blocks(inputs: int, outputs: int, count: int, style: BlockStyle) -> nn.Module:
    """`count` residual blocks; none at all still changes the number of channels."""
    if count == 0 and inputs != outputs:
        return style.convolution(inputs, outputs, kernel=1)
    blocks = (ResidualBlock(outputs if i else inputs, outputs, style) for i in range(count))
    return nn.Sequential(*blocks)
