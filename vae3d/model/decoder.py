"""The decoder: from a latent to an image; the mirror of the encoder."""

from torch import nn

from vae3d.layers.convolution import convolution
from vae3d.model.blocks import head_layers, upsample
from vae3d.model.config import FINAL_ACTIVATIONS, LevelSpec, VAEConfig
from vae3d.model.encoder import Layers, middle, residual_blocks
from vae3d.model.heads import head_of
from vae3d.model.wavelets import unfolding


class Decoder(Layers):
    """Stem, then residual blocks and upsampling for each level from the deepest, then the head.

    Maps latents (B, latent_channels, *latent) to folded images (B, C * prod(patches), *spatial),
    by its layers in the order in which they are set. With attention in the bottleneck, a residual
    block, attention and another residual block follow the stem. `projection` adds a 1x1
    convolution before the stem, a `folding` by wavelets their inverse after the head.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        dims, latent, levels = config.dims, config.latent_channels, config.levels
        channels = levels[-1].channels
        self.projection = (
            convolution(dims, latent, latent, kernel=1) if config.projection else nn.Identity()
        )
        self.stem = convolution(dims, latent, channels)
        self.middle = middle(channels, config)
        self.levels = nn.ModuleList()
        for level, finer in zip(reversed(levels), [*levels[-2::-1], levels[0]], strict=True):
            target = finer if config.widening == "step" else level
            self.levels.append(UpLevel(channels, target.channels, level, config))
            channels = target.channels
        self.norm, self.activation = head_layers(channels, config)
        self.head = head_of(channels, config)
        self.unfold = unfolding(config)
        self.final_activation = FINAL_ACTIVATIONS[config.final_activation]()


class UpLevel(nn.Sequential):
    """Residual blocks, then upsampling; one of the two changes the number of channels.

    Maps (B, inputs, *spatial) to (B, outputs, *(spatial * stride)).
    """

    def __init__(self, inputs: int, outputs: int, level: LevelSpec, config: VAEConfig) -> None:
        super().__init__()
        count = level.blocks if level.decoder_blocks is None else level.decoder_blocks
        self.blocks = residual_blocks(inputs, level, count, config)
        stride = level.strides(config.dims)
        self.upsample = upsample(level.channels, outputs, stride, config, config.upsampling)
