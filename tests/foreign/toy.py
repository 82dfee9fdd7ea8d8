"""A toy autoencoder of another program, which the tests of `autoencoder=python` name."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

FACTOR = 4


class Mean:
    """Stores the mean of each block of 4 voxels a side, and repeats it."""

    factor = FACTOR

    def encode(self, image: Tensor) -> Tensor:
        """Return means (1, C, *spatial / 4)."""
        pool = F.avg_pool3d if image.dim() == 5 else F.avg_pool2d
        return pool(image, FACTOR)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the means, repeated."""
        return F.interpolate(latent, scale_factor=FACTOR, mode="nearest")


class Pyramid(Mean):
    """Returns two tensors: means, and what they lack at half the resolution."""

    bits = 8

    def encode(self, image: Tensor) -> Any:
        """Return the means and the rest."""
        means = super().encode(image)
        pool = F.avg_pool3d if image.dim() == 5 else F.avg_pool2d
        return [means, pool(image - super().decode(means), 2)]

    def decode(self, latent: Any) -> Tensor:
        """Return means and rest, repeated."""
        means, rest = latent
        return super().decode(means) + F.interpolate(rest, scale_factor=2, mode="nearest")


class Posterior(Mean):
    """Returns an object with mode() and logvar."""

    def encode(self, image: Tensor) -> Any:
        """Return the means as a posterior of variance 1."""
        means = super().encode(image)

        class Gaussian:
            logvar = torch.zeros_like(means)

            def mode(self) -> Tensor:
                """Return the means."""
                return means

        return Gaussian()


class Smaller(Mean):
    """Returns images that are too small."""

    def decode(self, latent: Tensor) -> Tensor:
        """Return one voxel less along each axis."""
        image = super().decode(latent)
        smaller = (slice(None), slice(None)) + (slice(1, None),) * (image.dim() - 2)
        return image[smaller]


class Failing(Mean):
    """Takes no image."""

    def encode(self, image: Tensor) -> Tensor:
        """Raise an error of two lines."""
        raise RuntimeError("sizes\nmust be 7")


class Decoder:
    """Has no encode."""

    def decode(self, latent: Tensor) -> Tensor:
        """Return the latent."""
        return latent


class Words(Mean):
    """Encodes to what is no tensor."""

    def encode(self, image: Tensor) -> Any:
        """Return text."""
        return ["a", "b"]


class Flat(Mean):
    """Has a factor for two axes."""

    factor = (4, 4)  # type: ignore[assignment]


def coloured(channels: int = 3) -> Mean:
    """Return a `Mean` for images of three channels."""
    mean = Mean()
    mean.channels = channels  # type: ignore[attr-defined]
    return mean


def not_callable_without(size: str) -> Mean:
    """Return a `Mean`, given a size."""
    return Mean()
