"""The layers of a level: residual blocks, downsampling and upsampling."""

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
    """The settings that all blocks of a network share."""

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
        """Return the norm for this many channels."""
        return NORMS[self.norm](self.spatial_dims, channels, self.norm_groups)

    def activation_layer(self) -> nn.Module:
        """Return the activation."""
        return ACTIVATIONS[self.activation]()

    def head_layers(self, channels: int) -> tuple[nn.Module, nn.Module]:
        """Return the norm and the activation before a head, each an identity if not used."""
        norm = self.norm_layer(channels) if self.head_norm else nn.Identity()
        return norm, self.activation_layer() if self.head_activation else nn.Identity()

    def attention_layer(self, kind: str, channels: int) -> nn.Module:
        """Return the attention named `kind` in ATTENTIONS over this many channels."""
        if kind == "none":
            return nn.Identity()
        spec = self.attention
        window = spec.windows(self.spatial_dims) if kind == "windowed" else None
        layer = Attention(
            channels, self.norm_layer(channels), spec.heads(channels), window, spec.relative_bias
        )
        if self.zero_init:
            # Attention starts as its skip connection, as residual blocks do.
            nn.init.zeros_(layer.out.weight)
        return layer

    def convolution(self, inputs: int, outputs: int, kernel: int = 3) -> nn.Module:
        """Return a convolution that keeps the size."""
        return convolution(self.spatial_dims, inputs, outputs, kernel)


class ResidualBlock(nn.Module):
    """A pre-activation residual block, scale * (x + conv(act(norm(conv(act(norm(x))))))).

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
            # The block starts as its skip connection, so that deep networks learn from the start.
            nn.init.zeros_(self.conv2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *spatial)."""
        # Passed on: the recomputation may run after another batch has replaced the seeds.
        seeds = self.dropout.seeds
        if self.checkpointing and self.training:
            result: Tensor = checkpoint(self._forward, x, seeds, use_reentrant=False)
            return result
        return self._forward(x, seeds)

    def _forward(self, x: Tensor, seeds: list[int] | None) -> Tensor:
        hidden = self.conv1(self.activation(self.norm1(x)))
        hidden = self.conv2(self.dropout(self.activation(self.norm2(hidden)), seeds))
        result: Tensor = self.skip(x) + hidden
        # Multiplying by 1 would cost a pass over memory, and one more in the backward pass.
        return result if self.scale == 1 else result * self.scale


def downsample(inputs: int, outputs: int, stride: tuple[int, ...], style: BlockStyle) -> nn.Module:
    """Return a strided convolution, or `channel_projection` if the stride is 1 along every axis.

    `centered` pads both ends, `end_padded` only the far end, as the autoencoders of latent
    diffusion do (Rombach et al. 2022, arXiv:2112.10752) and all weights derived from them.
    """
    if max(stride) == 1:
        return channel_projection(inputs, outputs, style)
    if style.downsampling == "end_padded":
        return EndPaddedDownsample(inputs, outputs, stride, style)
    return convolution(style.spatial_dims, inputs, outputs, stride=stride)


def channel_projection(inputs: int, outputs: int, style: BlockStyle) -> nn.Module:
    """Return a 1x1 convolution if the number of channels changes, else an identity."""
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
        # An axis of stride 1 is padded at both ends. F.pad counts axes from the last one.
        pairs = [
            (0, o) if s > 1 else (o // 2, o // 2) for o, s in zip(overhang, stride, strict=True)
        ]
        self.overhang = [n for pair in reversed(pairs) for n in pair]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial / stride))."""
        result: Tensor = self.conv(F.pad(x, self.overhang))
        return result


class InterpolatedUpsample(nn.Module):
    """Upsampling: interpolation by `factor`, then a convolution."""

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], style: BlockStyle, mode: str
    ) -> None:
        super().__init__()
        self.factor = factor
        self.mode = mode
        self.conv = style.convolution(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        result: Tensor = self.conv(self.interpolated(x))
        return result

    def interpolated(self, x: Tensor) -> Tensor:
        """Return x (B, inputs, *spatial) interpolated to (B, inputs, *(spatial * factor))."""
        scale = [float(f) for f in self.factor]
        align = None if self.mode == "nearest" else False
        return F.interpolate(x, scale_factor=scale, mode=self.mode, align_corners=align)


class PixelShuffleUpsample(nn.Module):
    """Upsampling: a convolution to prod(factor) times the channels, then `pixel_shuffle`.

    With the same factor along both axes of an image this is Shi et al. 2016, arXiv:1609.05158;
    here there may be more axes, and each has its own factor.
    """

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], style: BlockStyle
    ) -> None:
        super().__init__()
        self.factor = factor
        self.conv = style.convolution(inputs, outputs * math.prod(factor))
        if style.smooth_init:
            init_icnr(self.conv, math.prod(factor))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *(spatial * factor))."""
        return pixel_shuffle(self.conv(x), self.factor)


def init_icnr(convolution: Any, parts: int) -> None:
    """Initialise a convolution so that it and `pixel_shuffle` act as nearest interpolation.

    The `parts` channels that become one block of voxels start equal. This is ICNR, which avoids
    checkerboard artefacts (Aitken et al. 2017, arXiv:1707.02937).
    """
    for parameter in (convolution.weight, convolution.bias):
        parameter.data.copy_(parameter.detach()[::parts].repeat_interleave(parts, dim=0))


def pixel_shuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Rearrange (B, C * prod(factor), *spatial) into (B, C, *(spatial * factor)).

    The order of the channels is that of `torch.nn.PixelShuffle`.
    """
    if max(factor) == 1:
        return x
    dims = len(factor)
    batch, channels, *spatial = x.shape
    x = x.reshape(batch, channels // math.prod(factor), *factor, *spatial)
    # Each spatial axis is followed by the axis of its own factor.
    order = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    size = [s * f for s, f in zip(spatial, factor, strict=True)]
    return x.permute(0, 1, *order).reshape(batch, -1, *size)


def pixel_unshuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Rearrange (B, C, *(spatial * factor)) into (B, C * prod(factor), *spatial).

    The inverse of `pixel_shuffle`.
    """
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
    """Return the layer named `upsampling` in UPSAMPLINGS, the mirror of `downsample`."""
    if max(factor) == 1:
        return channel_projection(inputs, outputs, style)
    if upsampling == "pixel_shuffle":
        return PixelShuffleUpsample(inputs, outputs, factor, style)
    if upsampling == "transposed":
        layer = TRANSPOSED[style.spatial_dims](inputs, outputs, factor, factor)  # type: ignore[arg-type]
        if style.smooth_init:
            # Equal weights over the kernel repeat each voxel: nearest interpolation.
            corner = (slice(None), slice(None), *(slice(1) for _ in factor))
            first = layer.weight.detach()[corner]
            layer.weight.data.copy_(first.expand_as(layer.weight))
        return layer
    linear = {2: "bilinear", 3: "trilinear"}[style.spatial_dims]
    mode = linear if upsampling == "linear" else "nearest"
    return InterpolatedUpsample(inputs, outputs, factor, style, mode)
