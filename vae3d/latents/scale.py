"""`ScaleCheck`: whether plain latents have the scale that the weights know."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from vae3d.values.latent_statistics import LatentStatistics

log = logging.getLogger(__name__)

MAX_RATIO = 3.0
"""Largest ratio of the deviation of a latent to that of the weights' latents, or its inverse."""
WAYS: dict[str, Callable[[LatentStatistics, Tensor], Tensor]] = {
    "none": lambda _, latent: latent,
    "factor": lambda known, latent: known.restored(latent, "factor"),
    "channels": lambda known, latent: known.restored(latent, "channels", axis=0),
}


@dataclass
class ScaleCheck:
    """Warns once of plain latents whose spread is far from the latents that the weights know.

    `scaling` is how they were restored, and `weights` a folder that holds the statistics.
    """

    known: LatentStatistics | None
    scaling: str
    weights: str
    reported: bool = field(default=False, init=False)

    def __call__(self, stored: Tensor, restored: Tensor) -> None:
        """Look at a latent (C, *size), as it was stored and as it will be decoded."""
        if self.known is None or self.reported:
            return
        expected, spread = 1 / self.known.scaling_factor, _spread(restored)
        if self._fits(spread):
            return
        self.reported = True
        log.warning(
            f"latents with scaling={self.scaling} have a standard deviation of {spread:.4g}, "
            f"those that these weights know {expected:.4g}: {self._way(self.known, stored)}"
        )

    def _fits(self, spread: float) -> bool:
        assert self.known is not None
        ratio = spread * self.known.scaling_factor
        return 1 / MAX_RATIO <= ratio <= MAX_RATIO

    def _way(self, known: LatentStatistics, stored: Tensor) -> str:
        """Return what to type, or that no way to scale helps."""
        # From the simplest way to the one that undoes most.
        for way, restore in WAYS.items():
            if way != self.scaling and self._fits(_spread(restore(known, stored))):
                statistics = "" if way == "none" else f" statistics={self.weights}"
                return f"scaling={way}{statistics} would fit"
        return "no scaling= makes them fit; are they latents of these weights?"


def _spread(latent: Tensor) -> float:
    return float(latent.double().std(correction=0))
