"""`VAEConfig`: the architecture of a `CustomVAE` as data."""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any

from vae3d.bounds import (
    Above,
    AtLeast,
    Between,
    OneOf,
    OneOfNumbers,
    PerAxis,
    Settings,
    check_fields,
)
from vae3d.errors import ConfigError
from vae3d.files.plain import from_plain
from vae3d.model.checks import (
    MAX_LEVELS,
    QUANTIZED_CHANNELS,
    check_codebook,
    check_folding,
    check_overlap,
)
from vae3d.runtime.registry import Registry, plugins_of

if TYPE_CHECKING:
    from torch import nn

    BuildNorm = Callable[[int, int, int], nn.Module]
    BuildActivation = Callable[[], nn.Module]

_LAYERS = "vae3d.layers.norms"

NORMS: "Registry[BuildNorm]" = Registry(
    "norm",
    {
        "rms": f"{_LAYERS}:rms_norm",
        "layer": f"{_LAYERS}:layer_norm",
        "group": f"{_LAYERS}:group_norm",
        "instance": f"{_LAYERS}:instance_norm",
        "batch": f"{_LAYERS}:batch_norm",
        "none": "torch.nn:Identity",
    },
)
"""Norms by name, built from (spatial_dims, channels, groups)."""

ACTIVATIONS: "Registry[BuildActivation]" = Registry(
    "activation",
    {
        "relu": "torch.nn:ReLU",
        "leaky_relu": f"{_LAYERS}:leaky_relu",
        "elu": "torch.nn:ELU",
        "gelu": "torch.nn:GELU",
        "silu": "torch.nn:SiLU",
        "mish": "torch.nn:Mish",
        "hardswish": "torch.nn:Hardswish",
        "tanh": "torch.nn:Tanh",
    },
)
"""Activations by name, built without arguments."""

FINAL_ACTIVATIONS: "Registry[BuildActivation]" = Registry(
    "final activation", {"none": "torch.nn:Identity", "tanh": "torch.nn:Tanh"}
)
"""Activations after the decoder by name; images are in [-1, 1]."""

UPSAMPLINGS = ("nearest", "linear", "transposed", "pixel_shuffle")
DOWNSAMPLINGS = ("centered", "end_padded")
WIDENINGS = ("step", "block")
FOLDINGS = ("blocks", "haar", "cdf53")
VARIANCES = ("learned", "fixed", "fsq")
ATTENTIONS = ("none", "global", "windowed")
MAX_STRIDE = 8
CHANNELS = Between(1, 4096)
BLOCKS = Between(0, 64)
_COUNTS = tuple(range(1, QUANTIZED_CHANNELS + 1))
CODES = PerAxis(Between(2, MAX_LEVELS), axes=_COUNTS, of="channel")


def _along_each_axis(numbers: Sequence[int], count: int) -> tuple[int, ...]:
    """Return a number for each axis, or channel; a single one is for all of them."""
    return tuple(numbers) * (count if len(numbers) == 1 else 1)


@dataclass
class LevelSpec:
    """One resolution of the network, the same for encoder and decoder."""

    channels: Annotated[int, CHANNELS] = 32
    """Feature channels of the level; more reconstruct better and cost more memory and time."""
    blocks: Annotated[int, BLOCKS] = 1
    """Residual blocks of the level in the encoder, and in the decoder unless decoder_blocks is
    set."""
    stride: Annotated[Any, PerAxis(Between(1, MAX_STRIDE))] = (1,)
    """Downsampling factor from the level above, one number or one per axis; the first level's acts
    on the image."""
    decoder_blocks: Annotated[int | None, BLOCKS] = None
    """Residual blocks of the level in the decoder; null uses the same number as the encoder."""
    attention: Annotated[str, OneOf(*ATTENTIONS)] = "none"
    """Self-attention after each residual block of the level: over the whole grid, or in
    windows."""

    def check(self, key: str, spatial_dims: int) -> None:
        """Raise a ConfigError if the strides do not fit images of this many axes."""
        if len(self.stride) not in (1, spatial_dims):
            raise ConfigError(
                f"{key}.stride needs 1 or {spatial_dims} numbers, got {list(self.stride)}"
            )

    def strides(self, spatial_dims: int) -> tuple[int, ...]:
        """Return the stride of each axis."""
        return _along_each_axis(self.stride, spatial_dims)


@dataclass
class AttentionSpec(Settings, key="model.attention"):
    """How attention works wherever a level, or the bottleneck, has it."""

    bottleneck: Annotated[str, OneOf(*ATTENTIONS)] = "none"
    """Attention between two residual blocks at the deepest level; global needs memory for every
    pair of voxels."""
    window: Annotated[Any, PerAxis(Between(1, 64))] = (8,)
    """Side of an attention window in voxels of the feature map, one number or one per axis."""
    head_channels: Annotated[int | None, AtLeast(1)] = 32
    """Channels of one attention head; null uses a single head."""
    relative_bias: bool = True
    """Add a learned bias for each offset inside a window (Liu et al. 2021, equation 4); global
    attention has none."""

    def check(self, spatial_dims: int) -> None:
        """Raise a ConfigError if the window does not fit images of this many axes."""
        if len(self.window) not in (1, spatial_dims):
            raise ConfigError(
                f"model.attention.window needs 1 or {spatial_dims} numbers, got {[*self.window]}"
            )

    def windows(self, spatial_dims: int) -> tuple[int, ...]:
        """Return the side of the window along each axis, in voxels."""
        return _along_each_axis(self.window, spatial_dims)

    def heads(self, channels: int, key: str = "model.attention") -> int:
        """Return the number of heads for this many channels.

        Raises:
            ConfigError: `head_channels` does not divide the channels.
        """
        size = self.head_channels or channels
        # A level narrower than a head has one head.
        if channels % min(size, channels):
            raise ConfigError(
                f"{key}.head_channels must divide the level's channels ({channels}), got {size}"
            )
        return channels // min(size, channels)


def default_levels() -> list[LevelSpec]:
    """Return the levels of model=small: with `patch` 2 a factor of 4 along each axis."""
    return [LevelSpec(16), LevelSpec(64, blocks=2, stride=(2,))]


@dataclass
class VAEConfig(Settings, key="model"):
    """The architecture of a `CustomVAE`."""

    spatial_dims: Annotated[int | None, OneOfNumbers((2, 3))] = None
    """Number of spatial axes of the images; null follows the data, and is 3 without any."""
    in_channels: Annotated[int, CHANNELS] = 1
    """Channels of the images; must be that of the data."""
    latent_channels: Annotated[int, CHANNELS] = 4
    """Channels of the latent; more keep more detail and compress less."""
    levels: list[LevelSpec] = field(default_factory=default_levels)
    """Resolutions of the network from the finest to the coarsest, 1 to 12 of them."""
    norm: Annotated[str, OneOf(of=NORMS)] = "layer"
    """Normalisation of the features; layer and rms are pointwise in space, so that patches equal
    whole volumes."""
    norm_groups: Annotated[int, AtLeast(1)] = 8
    """Groups of norm=group; must divide the channels of every level."""
    activation: Annotated[str, OneOf(of=ACTIVATIONS)] = "silu"
    """Nonlinearity of the residual blocks."""
    upsampling: Annotated[str, OneOf(*UPSAMPLINGS)] = "transposed"
    """How the decoder goes to the next finer level; nearest and linear interpolate before a
    convolution."""
    variance: Annotated[str, OneOf(*VARIANCES)] = "learned"
    """Posterior variance: learned for each latent element, with log-variance in [-30, 20], or
    fixed everywhere; fsq has none, and rounds each channel to a few levels."""
    fixed_std: Annotated[float, Above(0)] = 0.1
    """Standard deviation of the posterior with variance=fixed."""
    fsq_levels: Annotated[Any, CODES] = (8,)
    """Levels of each latent channel with variance=fsq; [8,5,5,5] is a codebook of 1000 entries."""
    downsampling: Annotated[str, OneOf(*DOWNSAMPLINGS)] = "centered"
    """Padding of the strided convolutions: centered, or end_padded as in latent diffusion."""
    widening: Annotated[str, OneOf(*WIDENINGS)] = "step"
    """Where the channels change between levels: in the strided step, or in the block after it as
    in latent diffusion."""
    shortcuts: bool = False
    """Add shortcuts without parameters around each change of resolution (DC-AE), for factors of 8
    and more."""
    final_activation: Annotated[str, OneOf(of=FINAL_ACTIVATIONS)] = "none"
    """Nonlinearity after the decoder; tanh keeps reconstructions in [-1, 1]."""
    dropout: Annotated[float, Between(0, 1, "[)")] = 0.0
    """Dropout rate inside the residual blocks."""
    residual_scale: Annotated[float, Between(0, 1, "(]")] = 1.0
    """Factor on the sum of every residual block; 0.7071 keeps the variance of deep networks."""
    zero_init: bool = True
    """Initialise the last convolution of every residual block at zero, so that it begins as its
    skip."""
    smooth_init: bool = True
    """Initialise learned upsampling as nearest interpolation."""
    attention: AttentionSpec = field(default_factory=AttentionSpec)
    """Self-attention in the bottleneck and at the levels that ask for it."""
    head_norm: bool = False
    """Normalise before the output convolutions of encoder and decoder, as in latent diffusion."""
    head_activation: bool = False
    """Apply the activation before the output convolutions of encoder and decoder."""
    head_kernel: Annotated[int, OneOfNumbers((1, 3))] = 3
    """Kernel size of the decoder's output convolution."""
    projection: bool = False
    """Put 1x1 convolutions on both sides of the latent, as in latent diffusion."""
    patch: Annotated[Any, PerAxis(Between(1, 16))] = (2,)
    """Voxels folded into channels at both ends, so that nothing is computed at full resolution; 1
    folds none."""
    folding: Annotated[str, OneOf(*FOLDINGS)] = "blocks"
    """How patch=2 turns voxels into channels: blocks as they are, or as a wavelet's coarse image
    and details; cdf53 overlaps neighbouring blocks."""
    head_overlap: bool = False
    """Let each folded cell paint a window of twice its side that overlaps its neighbours, instead
    of a block whose edges can be seen; needs head_kernel=3."""
    unit_range: bool = False
    """For imported weights whose network expects images in [0, 1] instead of [-1, 1]."""
    checkpointing: bool = False
    """Recompute all residual blocks in the backward pass; saves memory in training, costs about a
    third of the time. trainer.memory replaces it where it is set."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.levels) <= 12:
            raise ConfigError(f"model.levels must hold 1 to 12 levels, got {len(self.levels)}")
        self.attention.check(self.dims)
        if len(self.patch) not in (1, self.dims):
            raise ConfigError(f"model.patch must be 1 or {self.dims} numbers, got {[*self.patch]}")
        for index, level in enumerate(self.levels):
            self._check_level(f"model.levels.{index}", level)
        if self.attention.bottleneck != "none":
            self.attention.heads(self.levels[-1].channels)
        if self.variance == "fsq":
            check_codebook(self.fsq_levels, self.latent_channels)
        check_folding(self.folding, self.patch)
        if self.head_overlap:
            check_overlap(self.folding, self.patch, self.head_kernel)

    def _check_level(self, key: str, level: LevelSpec) -> None:
        check_fields(level, key)
        if self.norm == "group" and level.channels % self.norm_groups:
            raise ConfigError(
                f"{key}.channels must be a multiple of model.norm_groups "
                f"({self.norm_groups}), got {level.channels}"
            )
        # The data may set spatial_dims later; VAE checks the strides again then.
        level.check(key, self.spatial_dims or len(level.stride))
        if level.attention != "none":
            self.attention.heads(level.channels, key)

    @property
    def plugins(self) -> list[str]:
        """The plugin modules that the network needs."""
        return plugins_of((NORMS, self.norm), (ACTIVATIONS, self.activation))

    @property
    def dims(self) -> int:
        """The number of spatial axes, 3 if not set."""
        return self.spatial_dims or 3

    @property
    def patches(self) -> tuple[int, ...]:
        """The number of voxels folded into channels along each axis."""
        return _along_each_axis(self.patch, self.dims)

    @property
    def codes(self) -> tuple[int, ...]:
        """The levels of each latent channel; empty unless latents are quantized."""
        if self.variance != "fsq":
            return ()
        return _along_each_axis(self.fsq_levels, self.latent_channels)

    @property
    def factor(self) -> tuple[int, ...]:
        """Image voxels per latent voxel along each axis."""
        return tuple(math.prod(axis) for axis in self._strides)

    @property
    def periods(self) -> tuple[tuple[int, ...], ...]:
        """Along each axis the image voxels per voxel of each coarser grid, finest first.

        The first may be that of the folding, the last is that of the latent.
        """
        grids = (accumulate(axis, operator.mul) for axis in self._strides)
        return tuple(tuple(sorted({*axis} - {1})) for axis in grids)

    @property
    def _strides(self) -> list[tuple[int, ...]]:
        """The voxels folded and the strides of the levels, for each axis."""
        strides = [self.patches, *(level.strides(self.dims) for level in self.levels)]
        return [*zip(*strides, strict=True)]

    @classmethod
    def from_json(cls, values: Any) -> "VAEConfig":
        """Return the config from which `dataclasses.asdict` made `values`.

        Raises:
            ConfigError: the values describe no architecture.
        """
        config: VAEConfig = from_plain(cls, values, "model")
        return config
