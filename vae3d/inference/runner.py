"""`ModelRunner`: images through a model on a device, in a precision and in bounded memory."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.model.vae import eval_mode
from vae3d.runtime.memory import Memory, memory_budget
from vae3d.runtime.precision import Precision
from vae3d.streaming.plan import StreamingPlan

MEMORY_KEY = "evaluation.inference.memory"
"""The setting that messages name for the memory of an evaluation."""
OnPosterior = Callable[[DiagonalGaussian], None]


def ignore(posterior: DiagonalGaussian) -> None:
    """Do nothing with a posterior."""


class ModelRunner:
    """Encodes, decodes and reconstructs one image at a time, in eval mode without gradients.

    Images (C, *spatial) in [-1, 1] and latents are on the CPU, as input and as output. An image
    that does not fit into `memory` in one pass goes through the network slab by slab, with the
    same result up to rounding. The model is moved to the device.

    Raises:
        ConfigError: from any method, if an image does not fit into `memory` in any way.
    """

    has_seams: ClassVar[bool] = False
    """Whether reconstructions are assembled from patches."""

    def __init__(
        self,
        model: CustomVAE,
        device: torch.device,
        precision: Precision,
        memory: Memory = None,
        memory_key: str = "memory",
    ) -> None:
        self.model = model.to_device(device)
        self.device = device
        self.precision = precision
        self.memory = memory
        self.memory_key = memory_key

    @property
    def protocol(self) -> dict[str, Any]:
        """The settings that two reconstructions must share to be comparable."""
        return {"mode": "full", "patch_size": None, "overlap": None, "blend": None}

    @torch.no_grad()
    def encode(self, image: Tensor) -> DiagonalGaussian:
        """Return the posterior (1, latent_channels, *size) of an image."""
        with eval_mode(self.model), self.precision.autocast(self.device):
            posterior = self.model.encode(image[None], self._memory_for(tuple(image.shape[1:])))
        return DiagonalGaussian(posterior.mean.cpu(), posterior.logvar.cpu())

    @torch.no_grad()
    def decode(self, latent: Tensor, size: tuple[int, ...]) -> Tensor:
        """Return the image (C, *size), float32 and clipped, of a latent (channels, *spatial)."""
        with eval_mode(self.model), self.precision.autocast(self.device):
            image = self.model.decode(latent[None], size, self._memory_for(size))
        return image[0].cpu().clamp_(-1, 1)

    @torch.no_grad()
    def reconstruct(
        self,
        image: Tensor,
        generator: Generator | None = None,
        on_posterior: OnPosterior = ignore,
    ) -> Tensor:
        """Return the reconstruction (C, *spatial), float32 and clipped, of an image.

        Without a generator the posterior's mode is decoded, with one a sample of it. The noise is
        drawn for the whole latent grid, so that the sample does not depend on the division into
        patches. `on_posterior` is called with the posterior before it is decoded.
        """
        noise = self._noise(image, generator)
        gib = self._memory_for(tuple(image.shape[1:]))
        with eval_mode(self.model):
            with self.precision.autocast(self.device):
                posterior = self.model.encode(image[None].float(), gib)
            on_posterior(posterior)
            latent = posterior.mode()
            if noise is not None:
                latent = posterior.at(noise[None].to(posterior.mean.device))
            with self.precision.autocast(self.device):
                decoded = self.model.decode(latent, tuple(image.shape[1:]), gib)
        return decoded[0].cpu().clamp_(-1, 1)

    def borders(self, shape: tuple[int, ...]) -> list[list[int]]:
        """Return, for each axis, the planes inside an image at which a patch begins or ends."""
        return [[] for _ in shape]

    def plan(self, shape: tuple[int, ...]) -> StreamingPlan:
        """Return how an image of this spatial shape goes through the model."""
        try:
            return self.model.plan(shape, memory_budget(self.memory, self.device))
        except ConfigError as error:
            reason = str(error).replace("memory", self.memory_key, 1)
            hint = "; mode=patch takes less" if self.memory_key == MEMORY_KEY else ""
            raise ConfigError(f"{reason}{hint}") from error

    def _memory_for(self, shape: tuple[int, ...]) -> float | None:
        """Return the GiB that an image of this shape may take; None is no limit.

        Raises:
            ConfigError: it does not fit, even in the thinnest slabs.
        """
        gib = memory_budget(self.memory, self.device)
        if gib is not None:
            self.plan(shape)
        return gib

    def _noise(self, image: Tensor, generator: Generator | None) -> Tensor | None:
        """Return unit noise (latent_channels, *size) for an image, None without a generator."""
        if generator is None:
            return None
        size = self.model.latent_size(image.shape[1:])
        return draw_noise((1, self.model.config.latent_channels, *size), generator)[0]
