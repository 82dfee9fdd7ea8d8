"""The layers of a level: residual blocks, downsampling and upsampling."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.layers.attention import Attention
from vae3d.layers.convolution import TRANSPOSED, convolution
from vae3d.layers.folding import pixel_shuffle
from vae3d.layers.norms import SampleDropout
from vae3d.layers.recomputation import recomputed
from vae3d.model.config import ACTIVATIONS, NORMS, VAEConfig
from vae3d.model.shortcuts import DownShortcut, UpShortcut


def norm_layer(channels: int, config: VAEConfig) -> nn.Module:
    """Return the norm for this many channels."""
    return NORMS[config.norm](config.dims, channels, config.norm_groups)


def activation_layer(config: VAEConfig) -> nn.Module:
    """Return the activation."""
    return ACTIVATIONS[config.activation]()


def head_layers(channels: int, config: VAEConfig) -> tuple[nn.Module, nn.Module]:
    """Return the norm and the activation before a head, each an identity if not used."""
    norm = norm_layer(channels, config) if config.head_norm else nn.Identity()
    return norm, activation_layer(config) if config.head_activation else nn.Identity()


def attention_layer(kind: str, channels: int, config: VAEConfig) -> nn.Module:
    """Return the attention named `kind` in ATTENTIONS over this many channels."""
    if kind == "none":
        return nn.Identity()
    spec = config.attention
    window = spec.windows(config.dims) if kind == "windowed" else None
    norm = norm_layer(channels, config)
    layer = Attention(channels, norm, spec.heads(channels), window, spec.relative_bias)
    if config.zero_init:
        # Attention starts as its skip connection, as residual blocks do.
        nn.init.zeros_(layer.out.weight)
    return layer


class ResidualBlock(nn.Module):
    """A pre-activation residual block, scale * (x + conv(act(norm(conv(act(norm(x))))))).

    He et al. 2016 (arXiv:1603.05027, figure 4e); a scale of sqrt(1/2) keeps the variance.
    """

    def __init__(self, inputs: int, outputs: int, config: VAEConfig) -> None:
        super().__init__()
        self.norm1 = norm_layer(inputs, config)
        self.conv1 = convolution(config.dims, inputs, outputs)
        self.norm2 = norm_layer(outputs, config)
        self.conv2 = convolution(config.dims, outputs, outputs)
        self.activation = activation_layer(config)
        self.dropout = SampleDropout(config.dropout)
        self.skip = channel_projection(inputs, outputs, config)
        self.recomputes = "block" if config.checkpointing else "nothing"
        self.scale = config.residual_scale
        if config.zero_init:
            # The block starts as its skip connection, so that deep networks learn from the start.
            nn.init.zeros_(self.conv2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *spatial)."""
        # Passed on: the recomputation may run after another batch has replaced the seeds.
        seeds = self.dropout.seeds
        if torch.is_grad_enabled() and self.recomputes in ("block", "all"):
            return recomputed(self._forward, x, seeds)
        return self._forward(x, seeds)

    def _forward(self, x: Tensor, seeds: list[int] | None) -> Tensor:
        if torch.is_grad_enabled() and self.recomputes in ("norms", "all"):
            hidden = recomputed(self._first, x, ends_in_convolution=True)
            hidden = recomputed(self._second, hidden, seeds, ends_in_convolution=True)
        else:
            hidden = self._second(self._first(x), seeds)
        result: Tensor = self.skip(x) + hidden
        # Multiplying by 1 would cost a pass over memory, and one more in the backward pass.
        return result if self.scale == 1 else result * self.scale

    def _first(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv1(self.activation(self.norm1(x)))
        return result

    def _second(self, hidden: Tensor, seeds: list[int] | None) -> Tensor:
        result: Tensor = self.conv2(self.dropout(self.activation(self.norm2(hidden)), seeds))
        return result


def downsample(inputs: int, outputs: int, stride: tuple[int, ...], config: VAEConfig) -> nn.Module:
    """Return a strided convolution, or `channel_projection` if the stride is 1 along every axis.

    With `shortcuts` a `DownShortcut` is around it.

    `centered` pads both ends, `end_padded` only the far end, as the autoencoders of latent
    diffusion do (Rombach et al. 2022, arXiv:2112.10752) and all weights derived from them.
    """
    if max(stride) == 1:
        return channel_projection(inputs, outputs, config)
    layer: nn.Module
    if config.downsampling == "end_padded":
        layer = EndPaddedDownsample(inputs, outputs, stride, config)
    else:
        layer = convolution(config.dims, inputs, outputs, stride=stride)
    return DownShortcut(layer, outputs, stride) if config.shortcuts else layer


def channel_projection(inputs: int, outputs: int, config: VAEConfig) -> nn.Module:
    """Return a 1x1 convolution if the number of channels changes, else an identity."""
    if inputs == outputs:
        return nn.Identity()
    return convolution(config.dims, inputs, outputs, kernel=1)


class EndPaddedDownsample(nn.Sequential):
    """A strided convolution whose windows begin at the first voxel.

    Maps (B, inputs, *spatial) to (B, outputs, *(spatial / stride)).
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, ...], config: VAEConfig
    ) -> None:
        super().__init__()
        conv: Any = convolution(config.dims, inputs, outputs, stride=stride)
        conv.padding = (0,) * config.dims
        overhang = [k - s for k, s in zip(conv.kernel_size, stride, strict=True)]
        # An axis of stride 1 is padded at both ends. Padding counts axes from the last one.
        pairs = [
            (0, o) if s > 1 else (o // 2, o // 2) for o, s in zip(overhang, stride, strict=True)
        ]
        zero_pad: Any = {2: nn.ZeroPad2d, 3: nn.ZeroPad3d}[config.dims]
        self.pad = zero_pad(tuple(n for pair in reversed(pairs) for n in pair))
        self.conv = conv


class InterpolatedUpsample(nn.Sequential):
    """Upsampling: interpolation by `factor`, then a convolution.

    Maps (B, inputs, *spatial) to (B, outputs, *(spatial * factor)).
    """

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], config: VAEConfig, mode: str
    ) -> None:
        super().__init__()
        align = None if mode == "nearest" else False
        self.interpolate = nn.Upsample(scale_factor=factor, mode=mode, align_corners=align)
        self.conv = convolution(config.dims, inputs, outputs)


class PixelShuffleUpsample(nn.Module):
    """Upsampling: a convolution to prod(factor) times the channels, then `pixel_shuffle`.

    With the same factor along both axes of an image this is Shi et al. 2016, arXiv:1609.05158;
    here there may be more axes, and each has its own factor.
    """

    def __init__(
        self, inputs: int, outputs: int, factor: tuple[int, ...], config: VAEConfig
    ) -> None:
        super().__init__()
        self.factor = factor
        self.conv = convolution(config.dims, inputs, outputs * math.prod(factor))
        if config.smooth_init:
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


def upsample(
    inputs: int, outputs: int, factor: tuple[int, ...], config: VAEConfig, upsampling: str
) -> nn.Module:
    """Return the layer named `upsampling` in UPSAMPLINGS, the mirror of `downsample`."""
    if max(factor) == 1:
        return channel_projection(inputs, outputs, config)
    layer = _upsample(inputs, outputs, factor, config, upsampling)
    return UpShortcut(layer, outputs, factor) if config.shortcuts else layer


def _upsample(
    inputs: int, outputs: int, factor: tuple[int, ...], config: VAEConfig, upsampling: str
) -> nn.Module:
    if upsampling == "pixel_shuffle":
        return PixelShuffleUpsample(inputs, outputs, factor, config)
    if upsampling == "transposed":
        layer = TRANSPOSED[config.dims](inputs, outputs, factor, factor)  # type: ignore[arg-type]
        if config.smooth_init:
            # Equal weights over the kernel repeat each voxel: nearest interpolation.
            corner = (slice(None), slice(None), *(slice(1) for _ in factor))
            first = layer.weight.detach()[corner]
            layer.weight.data.copy_(first.expand_as(layer.weight))
        return layer
    linear = {2: "bilinear", 3: "trilinear"}[config.dims]
    mode = linear if upsampling == "linear" else "nearest"
    return InterpolatedUpsample(inputs, outputs, factor, config, mode)
