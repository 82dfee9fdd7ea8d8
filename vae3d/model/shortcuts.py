"""Shortcuts without parameters around changes of resolution."""

import math

from torch import Tensor, nn

from vae3d.layers.folding import pixel_shuffle, pixel_unshuffle


class DownShortcut(nn.Module):
    """Downsampling plus a shortcut: blocks of voxels become channels, whose groups are averaged.

    Chen et al. 2024 (arXiv:2410.10733, section 3.1), there for images with a stride of two. The
    layer learns the residual to a fixed compression, which large strides need.
    """

    def __init__(self, main: nn.Module, outputs: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.main = main
        self.outputs = outputs
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial / stride))."""
        result: Tensor = self.main(x) + self.shortcut(x)
        return result

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the blocks of x, with the number of channels of the output."""
        return with_channels(pixel_unshuffle(x, self.stride), self.outputs)


class UpShortcut(nn.Module):
    """Upsampling plus a shortcut: channels are repeated and become blocks of voxels.

    The mirror of `DownShortcut`.
    """

    def __init__(self, main: nn.Module, outputs: int, factor: tuple[int, ...]) -> None:
        super().__init__()
        self.main = main
        self.outputs = outputs
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        result: Tensor = self.main(x) + self.shortcut(x)
        return result

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the blocks that the channels of x become."""
        return pixel_shuffle(with_channels(x, self.outputs * math.prod(self.factor)), self.factor)


def with_channels(x: Tensor, outputs: int) -> Tensor:
    """Return x (B, C, *spatial) with another number of channels, (B, outputs, *spatial).

    Each channel of the result is the mean of an equal share of the old ones: the mean of a group
    if there are fewer, a copy if there are more. Where neither number divides the other, channels
    are first repeated up to their least common multiple.
    """
    inputs = x.shape[1]
    common = math.gcd(inputs, outputs)
    repeats, group = outputs // common, inputs // common
    batch, _, *spatial = x.shape
    if repeats > 1:
        x = x.unsqueeze(2).expand(batch, inputs, repeats, *spatial)
    # A reshape where it is the mean of one channel each.
    x = x.reshape(batch, outputs, group, *spatial)
    return x.mean(dim=2) if group > 1 else x.squeeze(2)
