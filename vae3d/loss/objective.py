"""`Objective`: the training objective, weighted reconstruction terms plus the KL divergence."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.loss.config import LOSSES, LossConfig
from vae3d.loss.perceptual import PerceptualLoss
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.model.vae import VAEOutput


@dataclass(frozen=True)
class LossTerms:
    """The weighted `total` of each case (B,), and each term by name before its weight, (B,)."""

    total: Tensor
    by_name: dict[str, Tensor]

    def plus(self, name: str, value: Tensor, weight: float) -> "LossTerms":
        """Return the terms with another one of each case, (B,), before its weight."""
        return LossTerms(self.total + weight * value, {**self.by_name, name: value})


class Objective:
    """The loss of each case of a batch.

    Each case is reduced separately. The loss of a step is therefore the same for any split of its
    cases into micro-batches or ranks. `perceptual` is the term of `config.perceptual`, if it is
    used.
    """

    def __init__(
        self,
        config: LossConfig,
        factor: tuple[int, ...],
        perceptual: PerceptualLoss | None = None,
    ) -> None:
        self.config = config
        self.factor = factor
        self.perceptual = perceptual
        assert config.perceptual.is_used == (perceptual is not None), "build_perceptual"
        # A term of weight zero is not computed, to save time.
        self.terms = {name: w for name, w in config.terms.items() if w > 0}

    def __call__(
        self,
        output: VAEOutput,
        image: Tensor,
        inside: Sequence[tuple[int, ...]],
        step: int,
        seeds: Sequence[int] | None = None,
    ) -> LossTerms:
        """Return the loss of each case, for images (B, C, *spatial) in [-1, 1].

        `inside` is the size of each image without padding, `step` the optimizer step. What a term
        draws at random, it draws from the case's own of the `seeds`, 0 without them.
        """
        # In float32 even inside a caller's autocast: SSIM windows and Fourier transforms are too
        # inaccurate in half precision.
        with torch.autocast(image.device.type, enabled=False):
            by_name = self._reconstruction_terms(
                output.reconstruction.float(), image.float(), inside, seeds or [0] * len(image)
            )
            by_name["kl"] = self._kl(output.posterior, inside)
        total = self.kl_weight_at(step) * by_name["kl"]
        for name, weight in self.terms.items():
            total = total + weight * by_name[name]
        if self.perceptual is not None:
            total = total + self.config.perceptual.weight * by_name["perceptual"]
        return LossTerms(total, by_name)

    def kl_weight_at(self, step: int) -> float:
        """Return the weight of the KL term at this optimizer step."""
        return self.config.kl_weight * warmed_up(step, self.config.kl_warmup_steps)

    def weighted(self, reconstruction: Tensor, image: Tensor) -> Tensor:
        """Return the weighted sum of the reconstruction terms of each case, (B,)."""
        values = [w * term(name, reconstruction, image) for name, w in self.terms.items()]
        return torch.stack(values).sum(dim=0)

    def _reconstruction_terms(
        self,
        reconstruction: Tensor,
        image: Tensor,
        inside: Sequence[tuple[int, ...]],
        seeds: Sequence[int],
    ) -> dict[str, Tensor]:
        if all(size == tuple(image.shape[2:]) for size in inside):
            return self._compared(reconstruction, image, seeds)
        parts = zip(crops(reconstruction, inside), crops(image, inside), seeds, strict=True)
        cases = [self._compared(one, other, [seed]) for one, other, seed in parts]
        return {name: torch.cat([case[name] for case in cases]) for name in cases[0]}

    def _compared(
        self, reconstruction: Tensor, image: Tensor, seeds: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the terms of images without padding."""
        values = {name: term(name, reconstruction, image) for name in self.terms}
        if self.perceptual is not None:
            values["perceptual"] = self.perceptual(reconstruction, image, seeds)
        return values

    def _kl(self, posterior: DiagonalGaussian, inside: Sequence[tuple[int, ...]]) -> Tensor:
        latent_sizes = [
            tuple(math.ceil(s / f) for s, f in zip(size, self.factor, strict=True))
            for size in inside
        ]
        cases = zip(crops(posterior.kl(), latent_sizes), inside, strict=True)
        return torch.stack([self._reduced_kl(kl, math.prod(size)) for kl, size in cases])

    def _reduced_kl(self, kl: Tensor, voxels: int) -> Tensor:
        """Return the KL divergence (1, C, *spatial) of a case as a scalar."""
        channels = kl.flatten(2).mean(dim=2).clamp(min=self.config.free_bits)
        if self.config.kl_reduction == "mean":
            return channels.mean()
        total = channels.sum() * kl[0, 0].numel()
        return total if self.config.kl_reduction == "sum" else total / voxels


def warmed_up(step: int, steps: int) -> float:
    """Return the share of its weight that a term has, which grows from 0 over `steps`."""
    return min(1.0, step / steps) if steps else 1.0


def term(name: str, reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return a reconstruction term of each case, (B,).

    Raises:
        ConfigError: the loss of a plugin returns another shape.
    """
    value = LOSSES[name](reconstruction, image)
    if value.shape != (len(image),):
        raise ConfigError(
            f"loss.terms.{name} must return a value for each case, shape ({len(image)},), "
            f"got shape {tuple(value.shape)}"
        )
    return value


def crops(batch: Tensor, sizes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return each case of a batch (B, C, *spatial) cropped to its size, as (1, C, *size)."""
    return [cropped(case[None], size) for case, size in zip(batch, sizes, strict=True)]
