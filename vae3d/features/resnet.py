"""ResNets in 2D and 3D up to their last features (He et al. 2016, arXiv:1512.03385)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS = {2: F.max_pool2d, 3: F.max_pool3d}
WIDTHS = (64, 128, 256, 512)
"""Channels of the stages, before the last convolution of a bottleneck block."""
EXPANSION = 4
"""Output channels of a bottleneck block per channel of its stage."""


@dataclass(frozen=True)
class ResNetShape:
    """What differs between published ResNets.

    `blocks` are the blocks of each stage, of two convolutions 3x3 or, with `bottleneck`, of 1x1,
    3x3 and 1x1, of which the first or the second has the stride (`strides_in`). `strides` and
    `dilations` are those of the stages. `bias` states whether convolutions have one. Where a stage
    begins, `shortcut` B is a convolution; A takes every voxel that the stride leaves and appends
    channels of zeros. `eps` is added to the variance of the norms.
    """

    dims: int
    inputs: int
    blocks: tuple[int, ...]
    bottleneck: bool = False
    strides_in: str | None = None
    strides: tuple[int, ...] = (1, 2, 2, 2)
    dilations: tuple[int, ...] = (1, 1, 1, 1)
    bias: bool = False
    shortcut: str = "B"
    eps: float = 1e-5


class ResNet(nn.Module):
    """A ResNet without its classifier; its features are those of the stem and of each stage."""

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        self.shape = shape
        self.conv1 = _convolution(shape, shape.inputs, WIDTHS[0], 7, stride=2)
        self.bn1 = FrozenNorm(WIDTHS[0], shape.eps)
        channels = WIDTHS[0]
        for number, width in enumerate(WIDTHS):
            blocks: list[nn.Module] = []
            for block in range(shape.blocks[number]):
                stride = shape.strides[number] if block == 0 else 1
                blocks.append(Block(shape, channels, width, stride, shape.dilations[number]))
                channels = width * EXPANSION if shape.bottleneck else width
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))

    def outputs(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the features (B, channels, *spatial) of images (B, inputs, *spatial)."""
        x = F.relu(self.bn1(self.conv1(image)))
        yield x
        x = MAX_POOLS[self.shape.dims](x, 3, 2, 1)
        for number in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
            yield x


class Block(nn.Module):
    """A residual block, relu(x + norm(conv(relu(norm(conv(x))))))."""

    def __init__(
        self, shape: ResNetShape, inputs: int, width: int, stride: int, dilation: int
    ) -> None:
        super().__init__()
        self.outputs = width * EXPANSION if shape.bottleneck else width
        self.stride = stride
        for number, (channels, side, step) in enumerate(_chain(shape, width, stride), start=1):
            before = inputs if number == 1 else width
            convolution = _convolution(shape, before, channels, side, step, dilation)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", FrozenNorm(channels, shape.eps))
        self.count = 3 if shape.bottleneck else 2
        self.downsample: nn.Module | None = None
        if (stride > 1 or inputs != self.outputs) and shape.shortcut == "B":
            projection = _convolution(shape, inputs, self.outputs, 1, stride)
            self.downsample = nn.Sequential(projection, FrozenNorm(self.outputs, shape.eps))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *ceil(spatial / stride))."""
        hidden = x
        for number in range(1, self.count + 1):
            hidden = self.get_submodule(f"conv{number}")(hidden)
            hidden = self.get_submodule(f"bn{number}")(hidden)
            hidden = hidden if number == self.count else F.relu(hidden)
        skipped = self._without_tensors(x) if self.downsample is None else self.downsample(x)
        return F.relu(hidden + skipped)

    def _without_tensors(self, x: Tensor) -> Tensor:
        """Return the shortcut A."""
        x = MAX_POOLS[x.dim() - 2](x, 1, self.stride)
        missing = self.outputs - x.shape[1]
        return F.pad(x, (*(0, 0) * (x.dim() - 2), 0, missing)) if missing else x


class FrozenNorm(nn.Module):
    """A batch norm with the statistics of its training, which nothing changes."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        for name, start in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            self.register_buffer(name, torch.full((channels,), float(start)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, channels, *spatial)."""
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


def _chain(shape: ResNetShape, width: int, stride: int) -> Sequence[tuple[int, int, int]]:
    """Return channels, side of the kernel and stride of each convolution of a block."""
    if not shape.bottleneck:
        return ((width, 3, stride), (width, 3, 1))
    first, second = (stride, 1) if shape.strides_in == "conv1" else (1, stride)
    return ((width, 1, first), (width, 3, second), (width * EXPANSION, 1, 1))


def _convolution(
    shape: ResNetShape, inputs: int, outputs: int, side: int, stride: int = 1, dilation: int = 1
) -> nn.Module:
    """Return a convolution whose output has ceil(size / stride) voxels along each axis."""
    return CONVOLUTIONS[shape.dims](
        inputs,
        outputs,
        side,
        stride=stride,
        padding=dilation * (side // 2),
        dilation=dilation if side > 1 else 1,
        bias=shape.bias,
    )
