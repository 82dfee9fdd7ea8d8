"""`LatentHealth`: what a diffusion model must know of the latents of a whole data set."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae3d.model.gaussian import DiagonalGaussian
from vae3d.runtime.plain import finite_or_none

Channels = NDArray[np.float64]

ACTIVE_VARIANCE = 0.01
"""Above it a unit is active (Burda et al. 2016, arXiv:1509.00519, section 5)."""


def _nothing() -> Channels:
    return np.zeros(0)


@dataclass
class LatentHealth:
    """Sums over the posteriors of any number of cases, in memory for a few numbers a channel.

    Means and squared deviations are put together as by Chan, Golub and LeVeque ("Algorithms for
    computing the sample variance", 1983) in float64: cases in any portions, on any ranks and in
    any order give the same up to rounding. For the same to the last bit keep one for every case
    and merge them in the order of cases.

    `elements` is the number of latent voxels, `mean` (C,) the mean of mu over them; the others
    (C,) are sums over them: `deviations` of (mu - mean)^2, `variances` of sigma^2, `kls` of
    KL(q || N(0, 1)) in nats.
    """

    elements: int = 0
    mean: Channels = field(default_factory=_nothing)
    deviations: Channels = field(default_factory=_nothing)
    variances: Channels = field(default_factory=_nothing)
    kls: Channels = field(default_factory=_nothing)

    @classmethod
    def merged(cls, parts: Iterable["LatentHealth"]) -> "LatentHealth":
        """All parts together, in their order; no part at all is a set without cases."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole

    @torch.no_grad()
    def add(self, posterior: DiagonalGaussian) -> None:
        """Takes in posteriors (B, C, *spatial), of any floating type, on any device."""
        # In float16 the variance of a log-variance above 11 has already no number.
        mu, logvar = posterior.mean.double(), posterior.logvar.double()
        axes = [0, *range(2, mu.dim())]
        mean = mu.mean(axes, keepdim=True)
        variance = logvar.exp()
        kl = mu.square().add_(variance).sub_(logvar).sub_(1).mul_(0.5)
        sums = [(mu - mean).square_().sum(axes), variance.sum(axes), kl.sum(axes)]
        count = mu.numel() // mu.shape[1]
        self.merge(LatentHealth(count, *(t.flatten().cpu().numpy() for t in (mean, *sums))))

    def merge(self, other: "LatentHealth") -> None:
        """Takes in what another has seen."""
        if not other.elements:
            return
        if not self.elements:
            vars(self).update(vars(other))
            return
        total = self.elements + other.elements
        share = other.elements / total
        # A model that diverged has latents without numbers; `summary` says so.
        with np.errstate(invalid="ignore", over="ignore"):
            apart = other.mean - self.mean
            self.deviations = (
                self.deviations + other.deviations + apart**2 * (self.elements * share)
            )
            self.mean = self.mean + apart * share
            self.variances = self.variances + other.variances
            self.kls = self.kls + other.kls
        self.elements = total

    def summary(self) -> dict[str, Any]:
        """Plain values for a JSON file; one that is not finite is None.

        Of each channel in `channels`, over all latent voxels of all cases:
            mean, std: of samples of the posteriors, the aggregate posterior, by the law of total
                variance: E[mu] and the root of Var[mu] + E[sigma^2].
            noise_share: E[sigma^2] / (Var[mu] + E[sigma^2]): 0 says that a sample is the mean, 1
                that it says nothing of the image. 0 where both are 0.
            kl: the mean of KL(q || N(0, 1)) in nats a latent voxel.
            active: whether Var[mu] is above 0.01 (`ACTIVE_VARIANCE`).

        `active_channels` counts the active ones, `elements` the latent voxels. Two ways to
        normalise latents, under diffusers' names; use one of them, not both:
            (z - shift_factor) * scaling_factor: of all channels the mean and one over the
                standard deviation (1 where that is 0).
            (z - latents_mean) / latents_std: of each channel for itself.
        """
        count = max(self.elements, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            signal, noise, kl = self.deviations / count, self.variances / count, self.kls / count
            total = signal + noise
            share = np.divide(noise, total, out=np.zeros_like(total), where=total != 0)
            std = np.sqrt(total)
            shift, spread = _overall(self.mean, total)
        active = signal > ACTIVE_VARIANCE
        return {
            "channels": [
                {
                    "mean": finite_or_none(float(self.mean[c])),
                    "std": finite_or_none(float(std[c])),
                    "noise_share": finite_or_none(float(share[c])),
                    "kl": finite_or_none(float(kl[c])),
                    "active": bool(active[c]),
                }
                for c in range(len(total))
            ],
            "active_channels": int(active.sum()),
            "elements": self.elements,
            "scaling_factor": _scaling(spread),
            "shift_factor": finite_or_none(shift),
            "latents_mean": [finite_or_none(value) for value in self.mean.tolist()],
            "latents_std": [finite_or_none(value) for value in std.tolist()],
        }


def _overall(mean: Channels, variance: Channels) -> tuple[float, float]:
    """Mean and standard deviation of all channels as one; both 0 where there are none."""
    if not len(mean):
        return 0.0, 0.0
    shift = float(mean.mean())
    return shift, math.sqrt(float((variance + (mean - shift) ** 2).mean()))


def _scaling(spread: float) -> float | None:
    if not math.isfinite(spread):
        return None
    return 1 / spread if spread else 1.0
