"""`LossConfig`: the terms that training minimises, and their weights."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from vae3d.bounds import AtLeast, OneOf, Settings, Weights
from vae3d.runtime.registry import Registry, plugins_of

if TYPE_CHECKING:
    from torch import Tensor

LOSSES: "Registry[Callable[[Tensor, Tensor], Tensor]]" = Registry(
    "loss",
    {
        "l1": "vae3d.loss.pointwise:l1",
        "mse": "vae3d.loss.pointwise:mse",
        "huber": "vae3d.loss.pointwise:huber",
        "charbonnier": "vae3d.loss.pointwise:charbonnier",
        "ssim": "vae3d.loss.structural:one_minus_ssim",
        "ms_ssim": "vae3d.loss.structural:one_minus_ms_ssim",
        "gradient": "vae3d.loss.spectral:gradient",
        "focal_frequency": "vae3d.loss.spectral:focal_frequency",
        "eagle": "vae3d.loss.spectral:eagle",
    },
)
"""Reconstruction terms by name: functions of (reconstruction, image), both (B, C, *spatial) in
[-1, 1], that return (B,)."""

REDUCTIONS = ("mean", "sum", "voxel")
"""Ways to reduce the KL divergence of a case to one number."""


@dataclass
class LossConfig(Settings, key="loss"):
    """Settings of the training objective: weighted reconstruction terms plus the KL divergence."""

    terms: Annotated[dict[str, float], Weights(LOSSES, "loss")] = field(
        default_factory=lambda: {"l1": 1.0}
    )
    """Weight of each reconstruction term by name, as in loss.terms.ssim=0.1; a weight of 0 leaves
    a term out."""
    kl_weight: Annotated[float, AtLeast(0)] = 1e-5
    """Weight of the KL divergence; larger values make latents closer to a standard normal and
    reconstructions blurrier."""
    kl_reduction: Annotated[str, OneOf(*REDUCTIONS)] = "mean"
    """Over the latent of a case: mean of its elements, their sum (the ELBO's own, grows with the
    patch), or voxel, the sum divided by the image's voxels."""
    kl_warmup_steps: Annotated[int, AtLeast(0)] = 0
    """Optimizer steps over which kl_weight grows linearly from 0."""
    latent_noise: Annotated[float, AtLeast(0)] = 0.0
    """Deviation of normal noise that is added to the latent before the decoder, relative to the
    deviation of each latent channel; for decoders of latents that a diffusion model generates."""
    free_bits: Annotated[float, AtLeast(0)] = 0.0
    """Nats per latent element that each latent channel may use without cost (Kingma et al. 2016,
    section C.8)."""

    @property
    def plugins(self) -> list[str]:
        """The plugin modules that the terms need."""
        return plugins_of(*((LOSSES, name) for name in self.terms))

    @property
    def columns(self) -> list[str]:
        """The names under which a training logs its losses."""
        terms = (name for name, weight in self.terms.items() if weight > 0)
        return ["loss", *terms, "kl", "kl_weight"]
