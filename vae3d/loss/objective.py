"""`Objective`: what training makes small, as weighted terms by name plus the KL divergence."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.loss.spectral import eagle, focal_frequency, gradient
from vae3d.loss.structural import ms_ssim, ssim
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VAEOutput
from vae3d.patching.region import Region

MODEL_RANGE = 2.0
"""Images and reconstructions lie in [-1, 1]."""
HUBER_DELTA = 0.1


def l1(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute error of each case, (B,)."""
    return (reconstruction - image).abs().flatten(1).mean(dim=1)


def mse(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean squared error of each case, (B,)."""
    return (reconstruction - image).square().flatten(1).mean(dim=1)


def huber(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Half the squared error up to HUBER_DELTA, linear beyond, divided by it, (B,).

    Huber 1964 (Ann. Math. Stat. 35:73); divided, so that its slope is that of l1.
    """
    losses = F.smooth_l1_loss(reconstruction, image, reduction="none", beta=HUBER_DELTA)
    return losses.flatten(1).mean(dim=1)


def charbonnier(reconstruction: Tensor, image: Tensor) -> Tensor:
    """sqrt(error^2 + 10^-6), a smooth l1 (Charbonnier et al. 1994, ICIP), (B,)."""
    return ((reconstruction - image).square() + 1e-6).sqrt().flatten(1).mean(dim=1)


def one_minus_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """1 - SSIM of each case, (B,)."""
    return 1 - ssim(reconstruction, image, MODEL_RANGE, low=-1)


def one_minus_ms_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """1 - MS-SSIM of each case, (B,)."""
    return 1 - ms_ssim(reconstruction, image, MODEL_RANGE, low=-1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": l1,
    "mse": mse,
    "huber": huber,
    "charbonnier": charbonnier,
    "ssim": one_minus_ssim,
    "ms_ssim": one_minus_ms_ssim,
    "gradient": gradient,
    "focal_frequency": focal_frequency,
    "eagle": eagle,
}
"""Reconstruction terms by name: (reconstruction, image), both (B, C, *spatial), to (B,)."""

REDUCTIONS = ("mean", "sum", "voxel")


@dataclass
class LossConfig:
    """Weights of the terms by name, and of the KL divergence.

    `kl_reduction`: `sum` over the latent of a case (the ELBO's own, grows with the patch),
    `mean` over its elements, or `voxel`, the sum divided by the image's voxels. `free_bits`, in
    nats per latent element, is what each latent channel may spend for nothing (Kingma et al.
    2016, arXiv:1606.04934, section C.8, here for each case on its own). The weight of the KL
    grows linearly from 0 over `kl_warmup_steps`.
    """

    terms: dict[str, float] = field(default_factory=lambda: {"l1": 1.0})
    kl_weight: float = 1e-6
    kl_reduction: str = "mean"
    kl_warmup_steps: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in self.terms.items():
            if name not in LOSSES:
                raise ConfigError(
                    f"loss.terms.{name} is not a loss, choose from {', '.join(LOSSES)}"
                )
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(f"loss.terms.{name} must be a weight of 0 or more, got {weight}")
        if self.kl_reduction not in REDUCTIONS:
            raise ConfigError(
                f"loss.kl_reduction must be one of {', '.join(REDUCTIONS)}, "
                f"got {self.kl_reduction!r}"
            )
        for name in ("kl_weight", "kl_warmup_steps", "free_bits"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"loss.{name} must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class LossTerms:
    """The weighted `total` of each case (B,), and each term before its weight, also (B,)."""

    total: Tensor
    by_name: dict[str, Tensor]


class Objective:
    """The loss of each case of a batch.

    Every case is reduced on its own, so that a step over any split of its cases into
    micro-batches or ranks adds up to the same loss.
    """

    def __init__(self, config: LossConfig, factor: tuple[int, ...]) -> None:
        self.config = config
        self.factor = factor
        # A weight of zero takes the term out; it is not worth its time.
        self.terms = {name: w for name, w in config.terms.items() if w > 0}

    def __call__(
        self, output: VAEOutput, image: Tensor, inside: Sequence[tuple[int, ...]], step: int
    ) -> LossTerms:
        """Compares with images (B, C, *spatial); `inside` is the size of each without padding."""
        # Windows and transforms lose too much in half precision, also where a caller's autocast
        # is still on.
        with torch.autocast(image.device.type, enabled=False):
            by_name = self._reconstruction_terms(
                output.reconstruction.float(), image.float(), inside
            )
            by_name["kl"] = self._kl(output.posterior, inside)
        total = self.kl_weight_at(step) * by_name["kl"]
        for name, weight in self.terms.items():
            total = total + weight * by_name[name]
        return LossTerms(total, by_name)

    def kl_weight_at(self, step: int) -> float:
        """The weight of the KL term at this step of the training."""
        warmup = self.config.kl_warmup_steps
        return self.config.kl_weight * (min(1.0, step / warmup) if warmup else 1.0)

    def _reconstruction_terms(
        self, reconstruction: Tensor, image: Tensor, inside: Sequence[tuple[int, ...]]
    ) -> dict[str, Tensor]:
        if all(size == tuple(image.shape[2:]) for size in inside):
            return {name: LOSSES[name](reconstruction, image) for name in self.terms}
        pairs = list(zip(crops(reconstruction, inside), crops(image, inside), strict=True))
        return {name: torch.cat([LOSSES[name](*pair) for pair in pairs]) for name in self.terms}

    def _kl(self, posterior: DiagonalGaussian, inside: Sequence[tuple[int, ...]]) -> Tensor:
        latent_sizes = [
            tuple(math.ceil(s / f) for s, f in zip(size, self.factor, strict=True))
            for size in inside
        ]
        cases = zip(crops(posterior.kl(), latent_sizes), inside, strict=True)
        return torch.stack([self._reduced_kl(kl, math.prod(size)) for kl, size in cases])

    def _reduced_kl(self, kl: Tensor, voxels: int) -> Tensor:
        """(1, C, *spatial) to a number."""
        channels = kl.flatten(2).mean(dim=2).clamp(min=self.config.free_bits)
        if self.config.kl_reduction == "mean":
            return channels.mean()
        total = channels.sum() * kl[0, 0].numel()
        return total if self.config.kl_reduction == "sum" else total / voxels


def crops(batch: Tensor, sizes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Each case of a batch (B, C, *spatial) cut to its size, as (1, C, *size)."""
    return [
        case[None][Region((0,) * len(size), size).slices]
        for case, size in zip(batch, sizes, strict=True)
    ]
