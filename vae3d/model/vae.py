"""`CustomVAE`: the variational autoencoder, and `VAEConfig`, which describes it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from vae3d.errors import ConfigError
from vae3d.model.attention import AttentionSpec
from vae3d.model.blocks import DOWNSAMPLINGS, UPSAMPLINGS, BlockStyle
from vae3d.model.decoder import Decoder
from vae3d.model.encoder import Encoder
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.layers import ACTIVATIONS, FINAL_ACTIVATIONS, NORMS
from vae3d.model.levels import LevelSpec

VARIANCES = ("learned", "fixed")
LOGVAR_RANGE = (-30.0, 20.0)


def default_levels() -> list[LevelSpec]:
    """Three levels, a factor of four along each axis."""
    return [LevelSpec(32), LevelSpec(64, stride=(2,)), LevelSpec(128, stride=(2,))]


@dataclass
class VAEConfig:
    """The architecture of a `CustomVAE`.

    `spatial_dims` null follows the data and is 3 where there are none. `variance` is `learned`
    (a log-variance for each latent element, clamped to [-30, 20]) or `fixed` (`fixed_std`
    everywhere). `norm_groups` counts for `norm=group` alone. `residual_scale` multiplies the sum
    of each residual block, `zero_init` starts its last convolution at zero. `projection` puts
    convolutions of one voxel on both sides of the latent, as latent diffusion's autoencoders
    have them. `checkpointing` recomputes the blocks' activations in the backward pass instead of
    keeping them.
    """

    spatial_dims: int | None = None
    in_channels: int = 1
    latent_channels: int = 4
    levels: list[LevelSpec] = field(default_factory=default_levels)
    norm: str = "rms"
    norm_groups: int = 8
    activation: str = "silu"
    upsampling: str = "nearest"
    variance: str = "learned"
    fixed_std: float = 0.1
    downsampling: str = "centered"
    final_activation: str = "none"
    dropout: float = 0.0
    residual_scale: float = 1.0
    zero_init: bool = False
    attention: AttentionSpec = field(default_factory=AttentionSpec)
    projection: bool = False
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.spatial_dims not in (None, 2, 3):
            raise ConfigError(f"model.spatial_dims must be 2, 3 or null, got {self.spatial_dims}")
        for name, count in (
            ("in_channels", self.in_channels),
            ("latent_channels", self.latent_channels),
        ):
            if not 1 <= count <= 4096:
                raise ConfigError(f"model.{name} must lie in [1, 4096], got {count}")
        if not 1 <= len(self.levels) <= 12:
            raise ConfigError(f"model.levels must hold 1 to 12 levels, got {len(self.levels)}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"model.dropout must lie in [0, 1), got {self.dropout}")
        if not 0 < self.residual_scale <= 1:
            raise ConfigError(
                f"model.residual_scale must lie in (0, 1], got {self.residual_scale}"
            )
        if not self.fixed_std > 0:
            raise ConfigError(f"model.fixed_std must be positive, got {self.fixed_std}")
        self._check_names()
        self._check_groups()
        self.attention.check(self.dims)
        for index, level in enumerate(self.levels):
            if level.attention != "none":
                self.attention.heads(level.channels, f"model.levels.{index}")
        if self.attention.bottleneck != "none":
            self.attention.heads(self.levels[-1].channels)

    def _check_names(self) -> None:
        for name, value, choices in (
            ("norm", self.norm, tuple(NORMS)),
            ("activation", self.activation, tuple(ACTIVATIONS)),
            ("upsampling", self.upsampling, UPSAMPLINGS),
            ("downsampling", self.downsampling, DOWNSAMPLINGS),
            ("variance", self.variance, VARIANCES),
            ("final_activation", self.final_activation, tuple(FINAL_ACTIVATIONS)),
        ):
            if value not in choices:
                raise ConfigError(
                    f"model.{name} must be one of {', '.join(choices)}, got {value!r}"
                )

    def _check_groups(self) -> None:
        for index, level in enumerate(self.levels):
            if self.norm == "group" and (
                self.norm_groups < 1 or level.channels % self.norm_groups
            ):
                raise ConfigError(
                    f"model.levels.{index}.channels must be a multiple of model.norm_groups "
                    f"({self.norm_groups}), got {level.channels}"
                )

    @property
    def dims(self) -> int:
        """The number of spatial axes."""
        return self.spatial_dims or 3

    @property
    def factor(self) -> tuple[int, ...]:
        """Image voxels per latent voxel along each axis."""
        strides = [level.strides(self.dims) for level in self.levels]
        return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


@dataclass(frozen=True)
class VAEOutput:
    """`reconstruction` (B, C, *spatial), `posterior` and `latent` on the latent grid."""

    reconstruction: Tensor
    posterior: DiagonalGaussian
    latent: Tensor


class CustomVAE(nn.Module):
    """A convolutional VAE for images of any size in two or three dimensions.

    An image whose size is no multiple of `factor` is continued past its end by its last voxels
    before it is encoded, and the reconstruction is cut back to the image's own size.
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or VAEConfig()
        dims = self.config.dims
        for index, level in enumerate(self.config.levels):
            level.check(f"model.levels.{index}", dims)
        self.spatial_dims = dims
        self.factor = self.config.factor
        self.encoder = Encoder(
            self.config.in_channels,
            self._posterior_channels(),
            self.config.levels,
            self._style(),
            self.config.latent_channels if self.config.projection else None,
        )
        self.decoder = Decoder(
            self.config.latent_channels,
            self.config.in_channels,
            self.config.levels,
            self._style(),
            self.config.upsampling,
            self.config.final_activation,
            self.config.projection,
        )

    def forward(
        self, image: Tensor, generator: Generator | Sequence[Generator] | None = None
    ) -> VAEOutput:
        """Reconstructs images (B, C, *spatial) in [-1, 1] from a sample of their posterior.

        Without a generator the posterior's mode is decoded.
        """
        posterior = self.encode(image)
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        reconstruction = self.decode(latent, tuple(image.shape[2:]))
        return VAEOutput(reconstruction, posterior, latent)

    def encode(self, image: Tensor) -> DiagonalGaussian:
        """The posterior of images (B, C, *spatial) over latents of ceil(spatial / factor)."""
        parameters = self.encoder(pad_to_multiple(image, self.factor)).float()
        if self.config.variance == "fixed":
            logvar = torch.full_like(parameters, 2 * math.log(self.config.fixed_std))
            return DiagonalGaussian(parameters, logvar)
        mean, logvar = parameters.chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR_RANGE))

    def decode(self, latent: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Images in float32 of latents (B, latent_channels, *spatial), cut to `size` if given."""
        image: Tensor = self.decoder(latent).float()
        if size is None:
            return image
        return cropped(image, size)

    def latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """The spatial size of the latent of an image of this size."""
        return tuple(math.ceil(s / f) for s, f in zip(size, self.factor, strict=True))

    def _posterior_channels(self) -> int:
        learned = self.config.variance == "learned"
        return self.config.latent_channels * (2 if learned else 1)

    def _style(self) -> BlockStyle:
        return BlockStyle(
            spatial_dims=self.spatial_dims,
            norm=self.config.norm,
            norm_groups=self.config.norm_groups,
            activation=self.config.activation,
            dropout=self.config.dropout,
            checkpointing=self.config.checkpointing,
            residual_scale=self.config.residual_scale,
            zero_init=self.config.zero_init,
            downsampling=self.config.downsampling,
            attention=self.config.attention,
        )


def cropped(image: Tensor, size: Sequence[int]) -> Tensor:
    """The first `size` voxels of (B, C, *spatial) along each spatial axis."""
    for axis, length in enumerate(size, start=2):
        image = image.narrow(axis, 0, length)
    return image


def pad_to_multiple(image: Tensor, factor: tuple[int, ...]) -> Tensor:
    """(B, C, *spatial) continued by its last voxels to multiples of `factor`."""
    missing = [-s % f for s, f in zip(image.shape[2:], factor, strict=True)]
    if not any(missing):
        return image
    # F.pad counts axes from the last one.
    return F.pad(image, [n for m in reversed(missing) for n in (0, m)], mode="replicate")
