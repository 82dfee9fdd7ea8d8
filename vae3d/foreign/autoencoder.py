"""`ForeignAutoencoder`: a network of another program, used like vae3d's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.autoencoder.config import ForeignConfig
from vae3d.autoencoder.description import Origin
from vae3d.errors import ConfigError
from vae3d.foreign.layout import SLICES, Layout
from vae3d.foreign.network import LatentParts, Network, errors_named
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.model.vae import VALUE_BITS, at_least_float32
from vae3d.streaming.plan import StreamingPlan
from vae3d.values.latent_statistics import LatentStatistics

IMAGES_PER_PASS = 8
"""Slices or patches that go through a network in one pass, at most."""


@dataclass(frozen=True)
class Trial:
    """What an image of the trial became: the factor of the network's axes, and its latent.

    `channels` is 0 for latents that are no single grid. `density` are values per voxel, and
    `has_variance` states whether the posterior can be sampled.
    """

    factor: tuple[int, ...]
    channels: int
    density: float
    has_variance: bool = False


class ForeignAutoencoder(nn.Module):
    """A network of another program as an `Autoencoder` of images (B, C, *spatial) in [-1, 1].

    A trial image goes through the network first, which shows its factor, and whether it returns
    images of the size that it took.

    Raises:
        ConfigError: it does not, or it is not for data of `spatial_dims` axes.
    """

    concurrent = False
    """Networks of other programs may keep state while they compute."""
    statistics: LatentStatistics | None = None
    origin: Origin | None = None

    def __init__(
        self,
        network: Network,
        config: ForeignConfig,
        spatial_dims: int,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.to_device(device or torch.device("cpu"))
        self.config = config
        self.spatial_dims = spatial_dims
        self.layout = Layout.of(network, config.axis, spatial_dims)
        self.image_channels = 1
        self.trial = self._try()
        self.factor = self.layout.outer(self.trial.factor, 1)

    @property
    def periods(self) -> tuple[tuple[int, ...], ...]:
        """Along each axis the voxels per voxel of its latent; other grids are not known."""
        return tuple((factor,) if factor > 1 else () for factor in self.factor)

    @property
    def latent_channels(self) -> int:
        """The channels of its latents; 0 if they are no single grid."""
        return self.trial.channels

    @property
    def codes(self) -> tuple[int, ...]:
        """No levels: what other programs quantize is a latent as any other here."""
        return ()

    @property
    def has_posterior(self) -> bool:
        """Whether its latents can be sampled."""
        return self.trial.has_variance

    def to_device(self, device: torch.device) -> "ForeignAutoencoder":
        """Move the network to the device."""
        self.to(device)
        self.device = device
        return self

    @torch.no_grad()
    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        """Return the posterior of images; `memory` is not limited.

        Raises:
            ConfigError: the network does not take these images, or fails.
        """
        self.image_channels = image.shape[1]
        images = self._ranged(self._widened(self.layout.to_network(image.to(self.device))))
        padded = self._padded(images)
        with errors_named(f"{self.network.name} cannot encode {_shape(padded)}"):
            parts = [self.network.encode(part) for part in torch.split(padded, IMAGES_PER_PASS)]
        if any(isinstance(part, LatentParts) for part in parts):
            return LatentParts.of(tuple(latent for part in parts for latent in part.mode()))
        mean, logvar = (
            self.layout.from_network(at_least_float32(torch.cat(values)), len(image))
            for values in ([p.mean for p in parts], [p.logvar for p in parts])
        )
        return DiagonalGaussian(mean, logvar)

    @torch.no_grad()
    def decode(
        self, latent: Any, size: tuple[int, ...] | None = None, memory: float | None = None
    ) -> Tensor:
        """Return float32 images of latents, cropped to `size` if given.

        Raises:
            ConfigError: the network returns images of another size, or fails.
        """
        if isinstance(latent, Tensor):
            size = size or self.image_size(latent.shape[2:])
            batch = len(latent)
            latents = self.layout.to_network(latent.to(self.device))
            parts: list[Any] = [*torch.split(latents, IMAGES_PER_PASS)]
        else:
            assert size is not None, "the size of latents that are no grid is not known"
            batch = len(latent) // (size[self.layout.axis] if self._is_sliced else 1)
            parts = [latent]
        inner = self.layout.inner(size)
        with errors_named(f"{self.network.name} cannot decode to {_sides(inner)}"):
            images = torch.cat([self.network.decode(part) for part in parts])
        self._check(images, self._padded_size(inner))
        images = self._narrowed(self._unranged(at_least_float32(cropped(images, inner))))
        return self.layout.from_network(images, batch)

    def plan(self, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
        """Return that an image goes through the network in one pass; its memory is not known."""
        return StreamingPlan("whole", shape[0], 2, 0)

    def latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the latent of an image of this size."""
        inner = self._padded_size(self.layout.inner(size))
        latent = [n // f for n, f in zip(inner, self.trial.factor, strict=True)]
        if self.network.frames:
            latent[0] = (inner[0] - 1) // self.trial.factor[0] + 1
        return self.layout.outer(latent, size[self.layout.axis])

    def image_size(self, latent: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the image that a latent of this size is decoded to."""
        inner = self.layout.inner(latent)
        image = [n * f for n, f in zip(inner, self.trial.factor, strict=True)]
        if self.network.frames:
            image[0] = (inner[0] - 1) * self.trial.factor[0] + 1
        return self.layout.outer(image, latent[self.layout.axis])

    def latent_values(self, size: Sequence[int]) -> int:
        """Return the number of values in the latent of an image of this size.

        Of latents that are no single grid it is that of the trial's image, per voxel.
        """
        if not self.latent_channels:
            return max(1, round(self.trial.density * math.prod(size)))
        return self._values_per_place * math.prod(self.latent_size(size))

    def latent_bits(self, size: Sequence[int]) -> float:
        """Return the bits of the latent of an image of this size, as it would be stored."""
        return self.network.bits * self.latent_values(size)

    def describe(self) -> dict[str, Any]:
        """Return kind, parameters, channels and compression as JSON values, for reports."""
        compression: dict[str, Any] = {}
        if self.latent_channels:
            compression = {"factor": [*self.factor], "latent_channels": self._values_per_place}
        if self.network.bits != VALUE_BITS:
            compression["bits"] = self.network.bits
        return {
            "model": {"kind": self.network.name, "parameters": self.network.parameters_count},
            "channels": self.image_channels,
            "compression": compression,
        }

    @property
    def _is_sliced(self) -> bool:
        return self.layout.way == SLICES

    @property
    def _values_per_place(self) -> int:
        return self.network.values or self.latent_channels

    def _padded_size(self, inner: Sequence[int]) -> tuple[int, ...]:
        """Return the size that the network's image of a size is padded to."""
        own, factor = self.network.multiples or (1,) * len(inner), self.trial.factor
        multiples = [math.lcm(n, f) for n, f in zip(own, factor, strict=True)]
        size = [-(-n // f) * f for n, f in zip(inner, multiples, strict=True)]
        if self.network.frames:
            step = factor[0] * self.network.frame_groups
            size[0] = -(-(inner[0] - 1) // step) * step + 1
        return tuple(size)

    def _padded(self, images: Tensor) -> Tensor:
        size = self._padded_size(images.shape[2:])
        missing = [p - n for p, n in zip(size, images.shape[2:], strict=True)]
        if not any(missing):
            return images
        # F.pad counts axes from the last one.
        return F.pad(images, [n for m in reversed(missing) for n in (0, m)], mode="replicate")

    def _widened(self, images: Tensor) -> Tensor:
        """Return images with the channels of the network."""
        wanted, own = self.network.in_channels, images.shape[1]
        if wanted in (None, own):
            return images
        if own != 1:
            raise ConfigError(
                f"{self.network.name} takes images of {wanted} channels, these data have {own}; "
                "choose one with data.channel"
            )
        return images.expand(-1, wanted, *images.shape[2:])

    def _narrowed(self, images: Tensor) -> Tensor:
        """Return images with the channels of the data."""
        if images.shape[1] == self.image_channels:
            return images
        if self.image_channels != 1:
            raise ConfigError(
                f"{self.network.name} returns images of {images.shape[1]} channels for data of "
                f"{self.image_channels}"
            )
        return images[:, :1] if self.config.channels == "first" else images.mean(1, keepdim=True)

    def _ranged(self, images: Tensor) -> Tensor:
        low, high = self.config.range
        return images if (low, high) == (-1, 1) else (images + 1) / 2 * (high - low) + low

    def _unranged(self, images: Tensor) -> Tensor:
        low, high = self.config.range
        return images if (low, high) == (-1, 1) else (images - low) / (high - low) * 2 - 1

    def _try(self) -> Trial:
        """Return what an image of the trial becomes."""
        network, size = self.network, self.network.trial
        low, high = self.config.range
        ramp = torch.linspace(low, high, math.prod(size), device=self.device)
        image = ramp.view(1, 1, *size).expand(1, network.in_channels or 1, *size)
        what = f"{network.name} cannot reconstruct a trial image of {_shape(image)[4:]}"
        with torch.no_grad(), errors_named(what):
            posterior = network.encode(image.contiguous())
            latent = posterior.mode()
            self._check(network.decode(latent), size)
        if isinstance(posterior, LatentParts):
            values = sum(part.numel() for part in _tensors(latent))
            return Trial((1,) * len(size), 0, values / math.prod(size))
        density = latent.numel() / math.prod(size)
        steps = [*zip(size, latent.shape[2:], strict=True)]
        if network.frames:
            steps[0] = size[0] - 1, latent.shape[2] - 1
        if not all(m > 0 and n % m == 0 for n, m in steps):
            return Trial((1,) * len(size), 0, density)
        has_variance = bool(posterior.logvar.isfinite().all())
        return Trial(tuple(n // m for n, m in steps), latent.shape[1], density, has_variance)

    def _check(self, images: Any, size: tuple[int, ...]) -> None:
        """Raise a ConfigError if a network returned something else than images of this size."""
        if not isinstance(images, Tensor):
            raise ConfigError(f"{self.network.name} returned {type(images).__name__}, no tensor")
        if images.shape[2:] != size:
            raise ConfigError(
                f"{self.network.name} returned images of {_sides(images.shape[2:])} for images of "
                f"{_sides(size)}; it must return the size that it takes"
            )


def _tensors(latent: Any) -> list[Tensor]:
    """Return the tensors in lists of lists of them."""
    if isinstance(latent, Tensor):
        return [latent]
    if not isinstance(latent, list | tuple):
        raise ConfigError(f"a latent must consist of tensors, got {type(latent).__name__}")
    return [tensor for part in latent for tensor in _tensors(part)]


def _shape(images: Tensor) -> str:
    return _sides(images.shape)


def _sides(size: Sequence[int]) -> str:
    return " x ".join(map(str, size))
