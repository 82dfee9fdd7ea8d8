"""`VAEConfig`: the architecture of a `CustomVAE` as data."""

import math
from dataclasses import dataclass, field
from typing import Any

from vae3d.errors import ConfigError
from vae3d.model.attention import AttentionSpec
from vae3d.model.blocks import DOWNSAMPLINGS, UPSAMPLINGS, WIDENINGS
from vae3d.model.layers import ACTIVATIONS, FINAL_ACTIVATIONS, NORMS
from vae3d.model.levels import LevelSpec
from vae3d.runtime.plain import from_plain

VARIANCES = ("learned", "fixed")


def default_levels() -> list[LevelSpec]:
    """With `patch` 2 a factor of four along each axis; what model=small is."""
    return [LevelSpec(16), LevelSpec(64, blocks=2, stride=(2,))]


@dataclass
class VAEConfig:
    """The architecture of a `CustomVAE`.

    `spatial_dims` null follows the data and is 3 where there are none. `variance` is `learned`
    (a log-variance for each latent element, clamped to [-30, 20]) or `fixed` (`fixed_std`
    everywhere). Between levels the channels change in the `step`, so that each block adds to its
    own input, or in the `block` after it (`widening`). `norm_groups` counts for `norm=group`
    alone. `residual_scale` multiplies the sum of each residual block, `zero_init` starts its last
    convolution at zero, `smooth_init` the learned steps up as nearest interpolations. `head_norm`
    and `head_activation` may stand before the heads; `head_kernel` is the size of the decoder's, 1
    or 3. `projection` puts convolutions of one voxel on both sides of the latent, as latent
    diffusion's autoencoders have them. `patch` folds blocks of so many voxels, per axis or one
    number for all, into channels before the first convolution and unfolds them after the last, so
    that nothing is computed at the image's own resolution. `unit_range` is for weights from
    elsewhere, whose network sees images in [0, 1] instead of [-1, 1]. `checkpointing` recomputes
    the blocks' activations in the backward pass instead of keeping them.
    """

    spatial_dims: int | None = None
    in_channels: int = 1
    latent_channels: int = 4
    levels: list[LevelSpec] = field(default_factory=default_levels)
    norm: str = "layer"
    norm_groups: int = 8
    activation: str = "silu"
    upsampling: str = "transposed"
    variance: str = "learned"
    fixed_std: float = 0.1
    downsampling: str = "centered"
    widening: str = "step"
    final_activation: str = "none"
    dropout: float = 0.0
    residual_scale: float = 1.0
    zero_init: bool = True
    smooth_init: bool = True
    attention: AttentionSpec = field(default_factory=AttentionSpec)
    head_norm: bool = False
    head_activation: bool = False
    head_kernel: int = 3
    projection: bool = False
    patch: tuple[int, ...] = (2,)
    unit_range: bool = False
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
        if self.head_kernel not in (1, 3):
            raise ConfigError(f"model.head_kernel must be 1 or 3, got {self.head_kernel}")
        if not 0 < self.fixed_std < math.inf:
            raise ConfigError(f"model.fixed_std must be positive, got {self.fixed_std}")
        self._check_names()
        self._check_groups()
        self.attention.check(self.dims)
        if len(self.patch) not in (1, self.dims) or any(not 1 <= p <= 16 for p in self.patch):
            raise ConfigError(
                f"model.patch must be 1 or {self.dims} numbers in [1, 16], got {[*self.patch]}"
            )
        for index, level in enumerate(self.levels):
            # How many axes there are may be known later; CustomVAE checks that.
            level.check(f"model.levels.{index}", self.spatial_dims or len(level.stride))
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
            ("widening", self.widening, WIDENINGS),
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
    def patches(self) -> tuple[int, ...]:
        """The voxels that are folded into channels along each axis."""
        patch = tuple(self.patch)
        return patch * self.dims if len(patch) == 1 else patch

    @property
    def factor(self) -> tuple[int, ...]:
        """Image voxels per latent voxel along each axis."""
        strides = [self.patches, *(level.strides(self.dims) for level in self.levels)]
        return tuple(math.prod(axis) for axis in zip(*strides, strict=True))

    @classmethod
    def from_json(cls, values: Any) -> "VAEConfig":
        """What `dataclasses.asdict` gave, read back as data.

        Raises:
            ConfigError: no such architecture.
        """
        config: VAEConfig = from_plain(cls, values, "model")
        return config
