"""`LatentHealth`: statistics of the latents of a whole data set, for diffusion models."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vae3d.files.plain import finite_or_none
from vae3d.latents.codebook import CodebookUsage
from vae3d.model.gaussian import DiagonalGaussian

Channels = NDArray[np.float64]

ACTIVE_VARIANCE = 0.01
"""A channel is active if Var[mu] is larger (Burda et al. 2016, arXiv:1509.00519, section 5)."""


def _no_channels() -> Channels:
    return np.zeros(0)


@dataclass
class LatentHealth:
    """Sums over the posteriors of any number of cases, of a few numbers for each channel.

    Means and squared deviations are merged in float64 as by Chan, Golub and LeVeque ("Algorithms
    for computing the sample variance", 1983). The result does not depend on the order of the cases
    or on how they are split over ranks, up to rounding. To make it bit-identical, collect one
    `LatentHealth` for each case and merge them in the order of the cases.

    `elements` is the number of latent voxels, `mean` (C,) the mean of mu over them. The others
    (C,) are sums over them: `deviations` of (mu - mean)^2, `variances` of sigma^2, `kls` of
    KL(q || N(0, 1)) in nats. `codebook` counts the entries of latents that are quantized.
    """

    elements: int = 0
    mean: Channels = field(default_factory=_no_channels)
    deviations: Channels = field(default_factory=_no_channels)
    variances: Channels = field(default_factory=_no_channels)
    kls: Channels = field(default_factory=_no_channels)
    codebook: CodebookUsage | None = None

    @classmethod
    def of_levels(cls, levels: Sequence[int]) -> "LatentHealth":
        """Return that of latents with these levels in each channel; without any, of all others."""
        return cls(codebook=CodebookUsage(tuple(levels)) if levels else None)

    @classmethod
    def merged(cls, parts: Iterable["LatentHealth"]) -> "LatentHealth":
        """Return all parts merged in their order; without parts, that of a set without cases."""
        whole = cls()
        for part in parts:
            whole.merge(part)
        return whole

    @torch.no_grad()
    def add(self, posterior: DiagonalGaussian) -> None:
        """Add posteriors (B, C, *spatial) of any floating type, on any device."""
        if self.codebook is not None and posterior.mean.isfinite().all():
            self.codebook.add(posterior.mean)
        # In float64, since the variance of a log-variance above 11 overflows float16.
        mu, logvar = posterior.mean.double(), posterior.logvar.double()
        axes = [0, *range(2, mu.dim())]
        mean = mu.mean(axes, keepdim=True)
        variance = logvar.exp()
        kl = mu.square().add_(variance).sub_(logvar).sub_(1).mul_(0.5)
        sums = [(mu - mean).square_().sum(axes), variance.sum(axes), kl.sum(axes)]
        count = mu.numel() // mu.shape[1]
        means, deviations, variances, kls = (t.flatten().cpu().numpy() for t in (mean, *sums))
        self.merge(LatentHealth(count, means, deviations, variances, kls))

    def merge(self, other: "LatentHealth") -> None:
        """Add the posteriors that another instance has summed."""
        if not other.elements:
            return
        if other.codebook is not None:
            self.codebook = self.codebook or CodebookUsage()
            self.codebook.merge(other.codebook)
        if not self.elements:
            vars(self).update({**vars(other), "codebook": self.codebook})
            return
        total = self.elements + other.elements
        share = other.elements / total
        # The latents of a model that diverged are not finite; `summary` reports them as None.
        with np.errstate(invalid="ignore", over="ignore"):
            difference = other.mean - self.mean
            self.deviations = (
                self.deviations + other.deviations + difference**2 * (self.elements * share)
            )
            self.mean = self.mean + difference * share
            self.variances = self.variances + other.variances
            self.kls = self.kls + other.kls
        self.elements = total

    def summary(self) -> dict[str, Any]:
        """Return plain values for a JSON file; a value that is not finite is None.

        For each channel in `channels`, over all latent voxels of all cases:
            mean, std: of the aggregate posterior (samples of all posteriors), by the law of total
                variance: E[mu] and the root of Var[mu] + E[sigma^2].
            noise_share: E[sigma^2] / (Var[mu] + E[sigma^2]). At 0 a sample equals the mean, at 1
                it does not depend on the image. 0 if both are 0.
            kl: the mean of KL(q || N(0, 1)) in nats a latent voxel.
            active: whether Var[mu] is above 0.01 (`ACTIVE_VARIANCE`).

        Quantized latents have no variance and no KL; `codebook` is their `CodebookUsage.summary`.

        `active_channels` is the number of active channels, `elements` that of latent voxels. The
        other values are for two ways to normalise latents, with the names that diffusers uses; use
        one of them, not both:
            (z - shift_factor) * scaling_factor: the mean of all channels, and the inverse of
                their standard deviation (1 if that is 0).
            (z - latents_mean) / latents_std: mean and standard deviation of each channel.
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
            **({"codebook": self.codebook.summary()} if self.codebook else {}),
            "scaling_factor": _scaling(spread),
            "shift_factor": finite_or_none(shift),
            "latents_mean": [finite_or_none(value) for value in self.mean.tolist()],
            "latents_std": [finite_or_none(value) for value in std.tolist()],
        }


def _overall(mean: Channels, variance: Channels) -> tuple[float, float]:
    """Return mean and standard deviation of all channels together; both 0 without channels."""
    if not len(mean):
        return 0.0, 0.0
    shift = float(mean.mean())
    return shift, math.sqrt(float((variance + (mean - shift) ** 2).mean()))


def _scaling(spread: float) -> float | None:
    if not math.isfinite(spread):
        return None
    return 1 / spread if spread else 1.0
