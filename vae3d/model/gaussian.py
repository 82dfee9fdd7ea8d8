"""`DiagonalGaussian`: the posterior q(z|x)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """A normal distribution for each element of `mean` and `logvar` (B, C, *spatial).

    With a log-variance of minus infinity it has no variance: a sample is the mean.
    """

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviation, (B, C, *spatial)."""
        return torch.exp(0.5 * self.logvar)

    def mode(self) -> Tensor:
        """Return the most probable latent: the mean."""
        return self.mean

    def at(self, noise: Tensor) -> Tensor:
        """Return the latent mean + std * noise for unit normal noise (B, C, *spatial)."""
        return self.mean + self.std * noise

    def sample(self, generator: Generator | Sequence[Generator] | None = None) -> Tensor:
        """Return a random latent (B, C, *spatial).

        With one generator per case, a case's latent does not depend on the rest of the batch.
        Without a generator the noise comes from torch's own one of the CPU, on every device: it
        can be repeated with `torch.manual_seed`, but depends on all that was drawn before.
        """
        return self.at(_noise_like(self.mean, generator))

    def kl(self) -> Tensor:
        """Return KL(q || N(0, 1)) per element in nats (Kingma and Welling 2014, appendix B).

        0 without variance: the divergence of an entry of a codebook from a uniform prior is the
        same for all of them (van den Oord et al. 2017, arXiv:1711.00937, section 3.1).
        """
        kl = 0.5 * (self.mean**2 + torch.exp(self.logvar) - 1.0 - self.logvar)
        # In place: a new tensor may have another memory format, in which sums are rounded in
        # another order.
        return kl.masked_fill_(self.logvar.isneginf(), 0.0)


def without_variance(latents: Tensor) -> DiagonalGaussian:
    """Return the posterior of an encoder that is a function: its variance is 0."""
    return DiagonalGaussian(latents, torch.full_like(latents, -math.inf))


@dataclass(frozen=True)
class LatentNoise:
    """Normal noise that is added to latents before they are decoded, such as a diffusion model's.

    Its deviation is `level` times that of a channel: `std` (C,), or, without it, the channel's own
    deviation in each case. There is one generator per case. A decoder that was trained with it
    forgives the noise of generated latents: noise-augmented decoding (Zheng et al. 2025,
    arXiv:2510.11690), where the deviation is drawn for each image; here it is fixed.
    """

    level: float
    std: Sequence[float] | None
    generators: Sequence[Generator]

    def added(self, latent: Tensor) -> Tensor:
        """Return latents (B, C, *spatial) with their noise."""
        noise = _noise_like(latent, self.generators)
        wide = (-1, latent.shape[1], *(1,) * (latent.dim() - 2))
        if self.std is None:
            # Not a way by which the encoder could lower the noise.
            std = latent.detach().flatten(2).std(dim=2, correction=0)
        else:
            std = latent.new_tensor([*self.std])
        return latent + self.level * std.reshape(wide) * noise


def _noise_like(latent: Tensor, generator: Generator | Sequence[Generator] | None) -> Tensor:
    """Return unit normal noise of the shape and type of latents, on their device."""
    noise = draw_noise(latent.shape, generator)
    if latent.is_cuda and not noise.is_cuda:
        # The host does not wait for copies from page-locked memory.
        noise = noise.pin_memory()
    return noise.to(latent, non_blocking=True)


def draw_noise(
    shape: Sequence[int], generator: Generator | Sequence[Generator] | None = None
) -> Tensor:
    """Return unit normal noise (B, C, *spatial), from one generator, one per case, or torch's own.

    It is drawn on the generator's device (the CPU), so that every device gets the same numbers.
    """
    if generator is None:
        return torch.randn(*shape)
    if isinstance(generator, Generator):
        return torch.randn(*shape, generator=generator, device=generator.device)
    return torch.stack([torch.randn(*shape[1:], generator=g, device=g.device) for g in generator])
