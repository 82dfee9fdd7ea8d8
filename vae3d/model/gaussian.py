"""`DiagonalGaussian`: the posterior q(z|x)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """A normal distribution for each element of `mean` and `logvar` (B, C, *spatial)."""

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
        noise = draw_noise(self.mean.shape, generator)
        if self.mean.is_cuda and not noise.is_cuda:
            # The host does not wait for copies from page-locked memory.
            noise = noise.pin_memory()
        return self.at(noise.to(self.mean, non_blocking=True))

    def kl(self) -> Tensor:
        """Return KL(q || N(0, 1)) per element in nats (Kingma and Welling 2014, appendix B)."""
        return 0.5 * (self.mean**2 + torch.exp(self.logvar) - 1.0 - self.logvar)


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
