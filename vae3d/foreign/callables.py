"""`autoencoder=python`: any object with `encode` and `decode`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.autoencoder.config import CallableConfig
from vae3d.errors import ConfigError
from vae3d.foreign.network import LatentParts, Network, errors_named
from vae3d.model.gaussian import DiagonalGaussian, without_variance
from vae3d.model.vae import VALUE_BITS
from vae3d.runtime.registry import load

MIN_TRIAL = {2: 64, 3: 32}
"""Sides of the images of a trial, at least, by number of axes."""
MAX_BITS = 64


class CallableNetwork(Network):
    """An object with `encode(image)` and `decode(latent)`, which get one image at a time.

    Images are (1, C, *spatial). The object may have attributes: `channels` of its images (any
    number by default), `factor` (the sides of images are padded to multiples of it; an int or one
    number for each axis) and `bits` of a value of its latents (16 by default).
    """

    def __init__(self, name: str, spatial_dims: int, made: Any) -> None:
        channels = getattr(made, "channels", None)
        super().__init__(name, spatial_dims, None if channels is None else int(channels))
        # An nn.Module becomes a part of this one.
        self.made = made
        self.bits = float(getattr(made, "bits", VALUE_BITS))
        factor = getattr(made, "factor", None)
        if factor is not None:
            factors = (factor,) * spatial_dims if isinstance(factor, int) else (*factor,)
            self.multiples = tuple(int(each) for each in factors)
        sides = self.multiples or (1,) * spatial_dims
        if len(sides) != spatial_dims or min(sides) < 1 or not 0 < self.bits <= MAX_BITS:
            raise ValueError(
                f"factor must be {spatial_dims} numbers of 1 or more, and bits in (0, {MAX_BITS}]"
            )

    @property
    def trial(self) -> tuple[int, ...]:
        """The size of the images of its trial."""
        side = MIN_TRIAL[self.spatial_dims]
        multiples = self.multiples or (1,) * self.spatial_dims
        return tuple(math.ceil(side / factor) * factor for factor in multiples)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move the object too, if it has a `to` of its own."""
        if not isinstance(self.made, nn.Module) and callable(getattr(self.made, "to", None)):
            self.made.to(fn(torch.empty(0)).device)
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """Return the posterior of images, or what the object returned if that is no grid."""
        encoded = [_plain(self.made.encode(image[None])) for image in images]
        means = [
            latent.mean if isinstance(latent, DiagonalGaussian) else latent for latent in encoded
        ]
        if not all(isinstance(mean, Tensor) and mean.dim() == images.dim() for mean in means):
            return LatentParts.of(tuple(means))
        posterior = without_variance(torch.cat(means))
        variances = [p.logvar for p in encoded if isinstance(p, DiagonalGaussian)]
        if len(variances) == len(encoded):
            return DiagonalGaussian(posterior.mean, torch.cat(variances))
        return posterior

    def decode(self, latents: Any) -> Tensor:
        """Return the images of latents, one image at a time."""
        parts = latents if isinstance(latents, tuple) else latents.split(1)
        return torch.cat([self.made.decode(latent) for latent in parts])


def _plain(latent: Any) -> Any:
    """Return a posterior for an object with mode() or mean; other latents as they are."""
    latent = getattr(latent, "latent_dist", latent)
    if isinstance(latent, Tensor | list | tuple):
        return latent
    mode = latent.mode() if callable(getattr(latent, "mode", None)) else latent.mean
    logvar = getattr(latent, "logvar", None)
    return DiagonalGaussian(mode, logvar) if isinstance(logvar, Tensor) else mode


def open_network(config: CallableConfig, spatial_dims: int) -> Network:
    """Return the object that the callable returns, as a network.

    Raises:
        ConfigError: it cannot be imported or called, or has no `encode` and `decode`.
    """
    name = config.path or ""
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ConfigError(f"autoencoder.path must be package.module:callable, got {name!r}")
    with errors_named(f"autoencoder.path={name} cannot be imported"):
        factory: Callable[..., Any] = load(name)
    with errors_named(f"autoencoder.path={name} with autoencoder.options cannot be called"):
        made = factory(**config.options)
    lacking = [way for way in ("encode", "decode") if not callable(getattr(made, way, None))]
    if lacking:
        raise ConfigError(
            f"autoencoder.path={name}: what it returns ({type(made).__name__}) has no "
            f"{' and no '.join(lacking)}; docs/how-to/score-any-autoencoder.md shows one"
        )
    with errors_named(f"autoencoder.path={name}: channels, factor or bits of what it returns"):
        return CallableNetwork(name, 2 if config.axis else spatial_dims, made)
