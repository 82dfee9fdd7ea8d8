"""`Autoencoder`: what inference, scores and reports need of an autoencoder of any kind."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from vae3d.autoencoder.description import Origin
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.streaming.plan import StreamingPlan
from vae3d.values.latent_statistics import LatentStatistics


class Autoencoder(Protocol):
    """An encoder and a decoder of images (B, C, *spatial) in [-1, 1], which `CustomVAE` is too.

    `factor` are the voxels of an image for each one of its latent, along each axis, and
    `concurrent` states whether several threads may call it. `statistics` is the scale of its
    latents and `origin` how it was made, None if they are not known.
    """

    spatial_dims: int
    factor: tuple[int, ...]
    concurrent: bool
    training: bool
    statistics: LatentStatistics | None
    origin: Origin | None

    @property
    def periods(self) -> tuple[tuple[int, ...], ...]:
        """For each axis the voxels of an image per voxel of each coarser grid it computes on.

        The last one is that of the latent; only what is known is listed.
        """
        ...

    @property
    def latent_channels(self) -> int:
        """The channels of its latents."""
        ...

    @property
    def codes(self) -> tuple[int, ...]:
        """The levels of each channel of quantized latents; empty for others."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Set the mode of its modules, as `nn.Module.train` does."""
        ...

    def eval(self) -> Any:
        """Set its modules to eval mode."""
        ...

    def to_device(self, device: torch.device) -> "Autoencoder":
        """Move it to the device and return it."""
        ...

    def encode(self, image: Tensor, memory: float | None = None) -> DiagonalGaussian:
        """Return the posterior of images, in at most `memory` GiB if it can limit that."""
        ...

    def decode(
        self, latent: Tensor, size: tuple[int, ...] | None = None, memory: float | None = None
    ) -> Tensor:
        """Return float32 images of latents, cropped to `size` if it is given."""
        ...

    def plan(self, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
        """Return how an image of this spatial shape is encoded and decoded in `memory` GiB."""
        ...

    def latent_size(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the latent of an image of this size."""
        ...

    def image_size(self, latent: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial size of the image that a latent of this size is decoded to."""
        ...

    def latent_values(self, size: Sequence[int]) -> int:
        """Return the number of values in the latent of an image of this size."""
        ...

    def latent_bits(self, size: Sequence[int]) -> float:
        """Return the bits of the latent of an image of this size, as it would be stored."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return parameters, channels and compression as JSON values, for reports."""
        ...
