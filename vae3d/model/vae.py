"""`VAE`: the network of the variational autoencoder."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Generator, Tensor, nn

from vae3d.layers.folding import pixel_shuffle, pixel_unshuffle
from vae3d.layers.norms import SampleDropout
from vae3d.model.blocks import ResidualBlock
from vae3d.model.config import VAEConfig
from vae3d.model.decoder import Decoder
from vae3d.model.encoder import Encoder
from vae3d.model.frozen import frozen_parts
from vae3d.model.gaussian import DiagonalGaussian, LatentNoise, without_variance
from vae3d.model.heads import init_head
from vae3d.model.quantizer import quantizer_of
from vae3d.model.sizes import cropped, pad_to_multiple

V = TypeVar("V", bound="VAE")

LOGVAR_RANGE = (-30.0, 20.0)
"""The log-variance is clamped to this range, so that its exponential stays finite."""
VALUE_BITS = 16
"""Bits of a value of a latent, stored as float16."""


@dataclass(frozen=True)
class VAEOutput:
    """The `reconstruction` (B, C, *spatial), and `posterior` and `latent` on the latent grid."""

    reconstruction: Tensor
    posterior: DiagonalGaussian
    latent: Tensor


class VAE(nn.Module):
    """A convolutional VAE for images of any size in two or three dimensions.

    An image whose size is not a multiple of `factor` is padded with its last voxels before it is
    encoded, and the reconstruction is cropped to the image's own size.
    """

    def __init__(self, config: VAEConfig | None = None) -> None:
        super().__init__()
        self.config = config or VAEConfig()
        self.spatial_dims = self.config.dims
        for index, level in enumerate(self.config.levels):
            level.check(f"model.levels.{index}", self.spatial_dims)
        self.factor = self.config.factor
        self.quantizer = quantizer_of(self.config.codes)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)
        if self.config.smooth_init:
            init_head(self.decoder.head, self.config)
        self._dropouts = [m for m in self.modules() if isinstance(m, SampleDropout)]
        for number, dropout in enumerate(self._dropouts):
            dropout.number = number

    def forward(
        self,
        image: Tensor | DiagonalGaussian,
        generator: Generator | Sequence[Generator] | None = None,
        noise: LatentNoise | None = None,
    ) -> VAEOutput:
        """Reconstruct images (B, C, *spatial) in [-1, 1] from a sample of their posterior.

        Without a generator, the posterior's mode is decoded. With one generator per case, dropout
        is drawn per case too, from the generator's seed. `noise` is added before the decoder.

        In place of images it takes their posterior, whose whole grid it decodes.
        """
        self.seed_dropout(seeds_of(generator))
        if isinstance(image, DiagonalGaussian):
            posterior, size = image, None
        else:
            posterior, size = self.encode(image), tuple(image.shape[2:])
        latent = posterior.mode() if generator is None else posterior.sample(generator)
        if noise is not None:
            latent = noise.added(latent)
        reconstruction = self.decode(latent, size)
        return VAEOutput(reconstruction, posterior, latent)

    def train(self: V, mode: bool = True) -> V:
        """Set the mode of all modules; frozen parts, see `freeze`, always are in eval mode.

        Their norms keep their statistics, and their dropout is off.
        """
        super().train(mode)
        for part in frozen_parts(self) if mode else ():
            part.eval()
        return self

    def seed_dropout(self, seeds: list[int] | None) -> None:
        """Draw the dropout of the next batches from a seed for each case; None is torch's own."""
        for dropout in self._dropouts:
            dropout.seeds = seeds

    def blocks(self) -> dict[str, ResidualBlock]:
        """Return the residual blocks by name, in the order in which they compute."""
        return {n: m for n, m in self.named_modules() if isinstance(m, ResidualBlock)}

    def recompute(self, blocks: Mapping[str, str]) -> None:
        """Set what each named block recomputes in training, as RECOMPUTATIONS lists."""
        own = self.blocks()
        for name, what in blocks.items():
            own[name].recomputes = what

    def encode(self, image: Tensor) -> DiagonalGaussian:
        """Return the posterior of images (B, C, *spatial), of size ceil(spatial / factor)."""
        return self.posterior(self.encoder(self.folded(image)))

    def decode(self, latent: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        """Return float32 images of latents (B, channels, *spatial), cropped to `size` if given."""
        image = self.unfolded(self.decoder(latent))
        return image if size is None else cropped(image, size)

    def folded(self, image: Tensor) -> Tensor:
        """Return the encoder's input for images (B, C, *spatial), padded to `factor`."""
        if self.config.unit_range:
            image = (image + 1) / 2
        return pixel_unshuffle(pad_to_multiple(image, self.factor), self.config.patches)

    def posterior(self, parameters: Tensor) -> DiagonalGaussian:
        """Return the posterior, in float32, whose parameters are the encoder's output."""
        parameters = at_least_float32(parameters)
        if self.quantizer is not None:
            return without_variance(self.quantizer.quantized(parameters))
        if self.config.variance == "fixed":
            logvar = torch.full_like(parameters, 2 * math.log(self.config.fixed_std))
            return DiagonalGaussian(parameters, logvar)
        mean, logvar = parameters.chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(*LOGVAR_RANGE))

    def unfolded(self, output: Tensor) -> Tensor:
        """Return the images, in float32, that the decoder's output represents."""
        image = at_least_float32(pixel_shuffle(output, self.config.patches))
        return 2 * image - 1 if self.config.unit_range else image

    def latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the latent of an image of this size."""
        return tuple(math.ceil(s / f) for s, f in zip(size, self.factor, strict=True))

    def latent_values(self, size: Sequence[int]) -> int:
        """Return the number of values in the latent of an image of this size."""
        return self.config.latent_channels * math.prod(self.latent_size(size))

    def latent_bits(self, size: Sequence[int]) -> float:
        """Return the bits of the latent of an image of this size, as float16 or as indices."""
        if self.quantizer is not None:
            return self.quantizer.bits * math.prod(self.latent_size(size))
        return VALUE_BITS * self.latent_values(size)

    def image_size(self, latent: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the image that a latent of this size is decoded to."""
        return tuple(n * f for n, f in zip(latent, self.factor, strict=True))


class HasModes(Protocol):
    """What `eval_mode` needs of an `nn.Module`."""

    training: bool

    def eval(self) -> Any:
        """Set eval mode."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Set training mode, or with False eval mode."""
        ...


@contextlib.contextmanager
def eval_mode(model: HasModes) -> Iterator[None]:
    """Put a model into eval mode inside the context, then restore its mode."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def seeds_of(generator: Generator | Sequence[Generator] | None) -> list[int] | None:
    """Return the seed of each case's generator; None without one generator per case."""
    if generator is None or isinstance(generator, Generator):
        return None
    return [g.initial_seed() for g in generator]


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32 or float64: distributions and images are never in half precision."""
    return x if x.dtype == torch.float64 else x.float()
