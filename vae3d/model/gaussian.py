"""`DiagonalGaussian`: the posterior q(z|x)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class DiagonalGaussian:
    """A normal distribution of its own for every element; `mean` and `logvar` (B, C, *spatial)."""

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """The standard deviation, (B, C, *spatial)."""
        return torch.exp(0.5 * self.logvar)

    def mode(self) -> Tensor:
        """The most probable latent: the mean."""
        return self.mean

    def at(self, noise: Tensor) -> Tensor:
        """The latent that unit noise (B, C, *spatial) stands for."""
        return self.mean + self.std * noise

    def sample(self, generator: Generator | Sequence[Generator]) -> Tensor:
        """A random latent; with one generator a case, the rest of the batch does not matter."""
        noise = draw_noise(self.mean.shape, generator)
        if self.mean.is_cuda and not noise.is_cuda:
            # Copied from page-locked memory, for which the host does not wait.
            noise = noise.pin_memory()
        return self.at(noise.to(self.mean, non_blocking=True))

    def kl(self) -> Tensor:
        """KL(q || N(0, 1)) of every element in nats (Kingma and Welling 2014, appendix B)."""
        return 0.5 * (self.mean**2 + torch.exp(self.logvar) - 1.0 - self.logvar)


def draw_noise(shape: Sequence[int], generator: Generator | Sequence[Generator]) -> Tensor:
    """Unit normal noise (B, C, *spatial), from one generator or from one for each of the B cases.

    Drawn where the generator lives (the CPU), so that every device gets the same numbers.
    """
    if isinstance(generator, Generator):
        return torch.randn(*shape, generator=generator, device=generator.device)
    return torch.stack([torch.randn(*shape[1:], generator=g, device=g.device) for g in generator])
