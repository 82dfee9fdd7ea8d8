"""What a level is made of: residual blocks, a step down, a step up."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vae3d.model.attention import Attention
from vae3d.model.config import ACTIVATIONS, NORMS, AttentionSpec
from vae3d.model.convolution import TRANSPOSED, convolution
from vae3d.model.layers import SampleDropout


@dataclass(frozen=True)
class BlockStyle:
    """What all blocks of a network have in common."""

    spatial_dims: int
    norm: str
    norm_groups: int
    activation: str
    dropout: float
    checkpointing: bool
    residual_scale: float = 1.0
    zero_init: bool = False
    smooth_init: bool = False
    head_norm: bool = False
    head_activation: bool = False
    head_kernel: int = 3
    downsampling: str = "centered"
    widening: str = "step"
    attention: AttentionSpec = field(default_factory=AttentionSpec)

    def norm_layer(self, channels: int) -> nn.Module:
        """The norm for this many channels."""
        return NORMS[self.norm](self.spatial_dims, channels, self.norm_groups)

    def activation_layer(self) -> nn.Module:
        """The activation."""
        return ACTIVATIONS[self.activation]()

    def head_layers(self, channels: int) -> tuple[nn.Module, nn.Module]:
        """The norm and the activation before a head, where there are any."""
        norm = self.norm_layer(channels) if self.head_norm else nn.Identity()
        return norm, self.activation_layer() if self.head_activation else nn.Identity()

    def attention_layer(self, kind: str, channels: int) -> nn.Module:
        """Attention over this many channels, by name of ATTENTIONS."""
        if kind == "none":
            return nn.Identity()
        spec = self.attention
        window = spec.windows(self.spatial_dims) if kind == "windowed" else None
        layer = Attention(
            channels, self.norm_layer(channels), spec.heads(channels), window, spec.relative_bias
        )
        if self.zero_init:
            nn.init.zeros_(layer.out.weight)
        return layer

    def convolution(self, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
        """A convolution that keeps the size."""
        return convolution(self.spatial_dims, inputs, outputs, kernel)


class ResidualBlock(nn.Module):
    """scale * (x + conv(act(norm(conv(act(norm(x))))))).

    He et al. 2016 (arXiv:1603.05027, figure 4e); a scale of sqrt(1/2) keeps the variance.
    """

    def __init__(self, inputs: int, outputs: int, style: BlockStyle) -> None:
        super().__init__()
        self.norm1 = style.norm_layer(inputs)
        self.conv1 = style.convolution(inputs, outputs)
        self.norm2 = style.norm_layer(outputs)
        self.conv2 = style.convolution(outputs, outputs)
        self.activation = style.activation_layer()
        self.dropout = SampleDropout(style.dropout)
        self.skip = (
            nn.Identity() if inputs == outputs else style.convolution(inputs, outputs, kernel=1)
        )
        self.checkpointing = style.checkpointing
        self.scale = style.residual_scale
        if style.zero_init:
            # The block begins as its skip: deep networks learn from the first step on.
            nn.init.zeros_(self.conv2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *spatial)."""
        # The seeds of this pass: what is recomputed may be so after another batch came through.
        seeds = self.dropout.seeds
        if self.checkpointing and self.training:
            result: Tensor = checkpoint(self._forward, x, seeds, use_reentrant=False)
            return result
        return self._forward(x, seeds)

    def _forward(self, x: Tensor, seeds: list[int] | None) -> Tensor:
        hidden = self.conv1(self.activation(self.norm1(x)))
        hidden = self.conv2(self.dropout(self.activation(self.norm2(hidden)), seeds))
        result: Tensor = self.skip(x) + hidden
        # A product with one would still be a pass over memory, and another one backwards.
        return result if self.scale == 1 else result * self.scale


def downsample(inputs: int, outputs: int, stride: tuple[int, ...], style: BlockStyle) -> nn.Module:
    """A strided convolution; where the stride is one along every axis no more than is needed.

    `centered` pads both ends, `end_padded` the far end alone, as the autoencoders of latent
    diffusion do (Rombach et al. 2022, arXiv:2112.10752) and all weights that follow them.
    """
    if max(stride) == 1:
        return standstill(inputs, outputs, style)
    if style.downsampling == "end_padded":
        return EndPaddedDownsample(inputs, outputs, stride, style)
    return convolution(style.spatial_dims, inputs, outputs, stride=stride)


def standstill(inputs: int, outputs: int, style: BlockStyle) -> nn.Module:
    """A step that keeps the resolution: a convolution of one voxel if the channels change."""
    if inputs == outputs:
        return nn.Identity()
    return style.convolution(inputs, outputs, kernel=1)


class EndPaddedDownsample(nn.Module):
    """A strided convolution whose windows begin at the first voxel."""

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, ...], style: BlockStyle
    ) -> None:
        super().__init__()
        self.conv = convolution(style.spatial_dims, inputs, outputs, stride=stride)
        conv: Any = self.conv
        conv.padding = (0,) * style.spatial_dims
        overhang = [k - s for k, s in zip(conv.kernel_size, stride, strict=True)]
        # An axis without a step stays centered. F.pad counts axes from the last one.
        pairs = [
            (0, o) if s > 1 else (o // 2, o // 2) for o, s in zip(overhang, stride, strict=True)
        ]
        self.overhang = [n for pair in reversed(pairs) for n in pair]

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *(spatial / stride))."""
        result: Tensor = self.conv(F.pad(x, self.overhang))
        return result


class InterpolatedUpsample(nn.Module):
    """Interpolation by `factor`, then a convolution."""

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], style: BlockStyle, mode: str
    ) -> None:
        super().__init__()
        self.factor = factor
        self.mode = mode
        self.conv = style.convolution(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        result: Tensor = self.conv(self.interpolated(x))
        return result

    def interpolated(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, inputs, *(spatial * factor))."""
        scale = [float(f) for f in self.factor]
        align = None if self.mode == "nearest" else False
        return F.interpolate(x, scale_factor=scale, mode=self.mode, align_corners=align)


class PixelShuffleUpsample(nn.Module):
    """A convolution to prod(factor) times the channels, which then become space.

    For a factor of r along each axis of an image this is Shi et al. 2016, arXiv:1609.05158; here
    for any number of axes and a factor of its own for each.
    """

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], style: BlockStyle
    ) -> None:
        super().__init__()
        self.factor = factor
        self.conv = style.convolution(inputs, outputs * math.prod(factor))
        if style.smooth_init:
            shuffle_smoothly(self.conv, math.prod(factor))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        return pixel_shuffle(self.conv(x), self.factor)


def shuffle_smoothly(convolution: Any, parts: int) -> None:
    """Has a convolution begin with equal channels where `pixel_shuffle` makes one block of them.

    What comes out is then a nearest interpolation, and no checkerboard has to be unlearned
    (Aitken et al. 2017, arXiv:1707.02937).
    """
    for parameter in (convolution.weight, convolution.bias):
        parameter.data.copy_(parameter.detach()[::parts].repeat_interleave(parts, dim=0))


def pixel_shuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """(B, C * prod(factor), *spatial) to (B, C, *(spatial * factor)) in torch's channel order."""
    if max(factor) == 1:
        return x
    dims = len(factor)
    batch, channels, *spatial = x.shape
    x = x.reshape(batch, channels // math.prod(factor), *factor, *spatial)
    # Each axis of space is followed by its own share of the channels.
    order = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    size = [s * f for s, f in zip(spatial, factor, strict=True)]
    return x.permute(0, 1, *order).reshape(batch, -1, *size)


def pixel_unshuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """(B, C, *(spatial * factor)) to (B, C * prod(factor), *spatial): undoes `pixel_shuffle`."""
    if max(factor) == 1:
        return x
    dims = len(factor)
    batch, channels, *size = x.shape
    spatial = [n // f for n, f in zip(size, factor, strict=True)]
    x = x.reshape(
        batch, channels, *(n for pair in zip(spatial, factor, strict=True) for n in pair)
    )
    order = [*(3 + 2 * d for d in range(dims)), *(2 + 2 * d for d in range(dims))]
    return x.permute(0, 1, *order).reshape(batch, channels * math.prod(factor), *spatial)


def upsample(
    inputs: int, outputs: int, factor: tuple[int, ...], style: BlockStyle, upsampling: str
) -> nn.Module:
    """The mirror of `downsample`, by name of `UPSAMPLINGS`."""
    if max(factor) == 1:
        return standstill(inputs, outputs, style)
    if upsampling == "pixel_shuffle":
        return PixelShuffleUpsample(inputs, outputs, factor, style)
    if upsampling == "transposed":
        step = TRANSPOSED[style.spatial_dims](inputs, outputs, factor, factor)  # type: ignore[arg-type]
        if style.smooth_init:
            corner = (slice(None), slice(None), *(slice(1) for _ in factor))
            first = step.weight.detach()[corner]
            step.weight.data.copy_(first.expand_as(step.weight))
        return step
    linear = {2: "bilinear", 3: "trilinear"}[style.spatial_dims]
    mode = linear if upsampling == "linear" else "nearest"
    return InterpolatedUpsample(inputs, outputs, factor, style, mode)
