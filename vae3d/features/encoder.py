"""`EncoderFeatures`: the encoder of an earlier training as a feature network."""

from collections.abc import Iterator

from torch import Tensor, nn

from vae3d.autoencoder.vae import CustomVAE
from vae3d.model.encoder import DownLevel


class EncoderFeatures(nn.Module):
    """The levels of an encoder; its features are the outputs of each level.

    The decoder is no part of it, so that it is not moved to a device.
    """

    def __init__(self, model: CustomVAE) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.layers = tuple(
            (f"level{number}", level.channels)
            for number, level in enumerate(model.config.levels, start=1)
        )
        self._folded = model.folded
        model.recompute(dict.fromkeys(model.blocks(), "nothing"))

    def outputs(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the features (B, channels, *spatial / stride) of images in [-1, 1]."""
        x = self._folded(image)
        for layer in self.encoder:
            x = layer(x)
            if isinstance(layer, DownLevel):
                yield x
