"""The decoder: from a latent to an image; the mirror of the encoder."""

from torch import Tensor, nn

from vae3d.model.blocks import BlockStyle, upsample
from vae3d.model.config import FINAL_ACTIVATIONS, LevelSpec
from vae3d.model.convolution import convolution
from vae3d.model.encoder import middle, residual_blocks


class Decoder(nn.Module):
    """Stem, then residual blocks and upsampling for each level from the deepest, then the head.

    With attention in the bottleneck, a residual block, attention and another residual block follow
    the stem. `projection` adds a 1x1 convolution before the stem.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        levels: list[LevelSpec],
        style: BlockStyle,
        upsampling: str,
        final_activation: str,
        projection: bool = False,
    ) -> None:
        super().__init__()
        channels = levels[-1].channels
        self.projection = (
            style.convolution(inputs, inputs, kernel=1) if projection else nn.Identity()
        )
        self.stem = convolution(style.spatial_dims, inputs, channels)
        self.middle = middle(channels, style)
        self.levels = nn.ModuleList()
        for level, finer in zip(reversed(levels), [*levels[-2::-1], levels[0]], strict=True):
            target = finer if style.widening == "step" else level
            self.levels.append(UpLevel(channels, target.channels, level, style, upsampling))
            channels = target.channels
        self.norm, self.activation = style.head_layers(channels)
        self.head = style.convolution(channels, outputs, style.head_kernel)
        self.final_activation = FINAL_ACTIVATIONS[final_activation]()

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        x = self.middle(self.stem(self.projection(z)))
        for level in self.levels:
            x = level(x)
        result: Tensor = self.final_activation(self.head(self.activation(self.norm(x))))
        return result


class UpLevel(nn.Module):
    """Residual blocks, then upsampling; one of the two changes the number of channels."""

    def __init__(
        self, inputs: int, outputs: int, level: LevelSpec, style: BlockStyle, upsampling: str
    ) -> None:
        super().__init__()
        count = level.blocks if level.decoder_blocks is None else level.decoder_blocks
        self.blocks = residual_blocks(inputs, level, count, style)
        stride = level.strides(style.spatial_dims)
        self.upsample = upsample(level.channels, outputs, stride, style, upsampling)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial * stride))."""
        result: Tensor = self.upsample(self.blocks(x))
        return result
