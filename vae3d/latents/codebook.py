"""`CodebookUsage`: how much of its codebook a quantized latent uses."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.model.quantizer import ScalarQuantizer

Counts = NDArray[np.int64]


def _none() -> Counts:
    return np.zeros(0, np.int64)


@dataclass
class CodebookUsage:
    """Counts the entries of a codebook of these `levels` over any number of latents.

    `entries` are those that occur, in ascending order, `counts` how often each of them does.
    """

    levels: tuple[int, ...] = ()
    entries: Counts = field(default_factory=_none)
    counts: Counts = field(default_factory=_none)

    def add(self, latents: Tensor) -> None:
        """Count the entries of latents (B, C, *spatial)."""
        indices = ScalarQuantizer(self.levels).indices(latents).flatten().cpu().numpy()
        self.merge(CodebookUsage(self.levels, *np.unique(indices, return_counts=True)))

    def merge(self, other: "CodebookUsage") -> None:
        """Add the counts of another instance."""
        self.levels = self.levels or other.levels
        both = np.concatenate([self.entries, other.entries])
        self.entries, places = np.unique(both, return_inverse=True)
        counts = np.concatenate([self.counts, other.counts])
        total = np.zeros(len(self.entries), np.int64)
        np.add.at(total, places, counts)
        self.counts = total

    def summary(self) -> dict[str, Any]:
        """Return plain values for a JSON file.

        size, used: entries of the codebook, and those that occur.
        perplexity: the exponential of the entropy of the entries, the number of equally frequent
            ones that would be as hard to predict (van den Oord et al. 2017, arXiv:1711.00937).
        bits: that entropy in bits, what a latent voxel takes at least without its neighbours.
        levels, levels_used: of each channel.
        """
        shares = self.counts / max(1, self.counts.sum())
        bits = float(-(shares * np.log2(shares)).sum()) + 0.0
        used, rest = [], self.entries
        for levels in self.levels:
            used.append(len(np.unique(rest % levels)))
            rest = rest // levels
        return {
            "size": ScalarQuantizer(self.levels).size,
            "used": len(self.entries),
            "perplexity": 2.0**bits,
            "bits": bits,
            "levels": [*self.levels],
            "levels_used": used,
        }
