"""`ScalarQuantizer`: latents whose channels have a few levels each, and their indices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

EPSILON = 1e-3
"""Share of the range of a channel that tanh does not reach (Mentzer et al. 2023, appendix A.1)."""


@dataclass(frozen=True)
class ScalarQuantizer:
    """Finite scalar quantization (Mentzer et al. 2023, arXiv:2309.15505, section 3, appendix A.1).

    `levels` are the numbers of values of each channel. Values are whole numbers, divided by half
    of the levels: in [-1, 1] for an odd number, in [-1, 1) for an even one. The codebook is all
    combinations of them; nothing of it is learned.
    """

    levels: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of entries of the codebook."""
        return math.prod(self.levels)

    @property
    def bits(self) -> float:
        """The bits of an entry's index."""
        return math.log2(self.size)

    def bounded(self, parameters: Tensor) -> Tensor:
        """Return (B, C, *spatial) whose whole numbers are the levels of its channels."""
        return torch.stack(
            [_bounded(x, n) for x, n in zip(parameters.unbind(1), self.levels, strict=True)], dim=1
        )

    def quantized(self, parameters: Tensor) -> Tensor:
        """Return the latents (B, C, *spatial) in [-1, 1] of an encoder's output.

        Gradients pass the rounding unchanged (straight through: Bengio et al. 2013,
        arXiv:1308.3432).
        """
        bounded = self.bounded(parameters)
        # In this order the sum is exactly the rounded number.
        whole = bounded.round().detach() + (bounded - bounded.detach())
        return self._scaled(whole)

    def indices(self, latents: Tensor) -> Tensor:
        """Return the entry of the codebook (B, *spatial), int64, of latents (B, C, *spatial).

        The first channel counts fastest. Latents off the levels, such as those of a diffusion
        model, are rounded to the nearest ones.
        """
        total, basis = torch.zeros_like(latents[:, 0], dtype=torch.int64), 1
        for x, levels in zip(latents.unbind(1), self.levels, strict=True):
            digit = (x * (levels // 2)).round().long() + levels // 2
            total = total + digit.clamp(0, levels - 1) * basis
            basis *= levels
        return total

    def latents(self, indices: Tensor) -> Tensor:
        """Return the latents (B, C, *spatial), float32, of entries of the codebook (B, *spatial).

        Raises:
            ValueError: an index is not in the codebook.
        """
        if indices.numel() and not 0 <= int(indices.min()) <= int(indices.max()) < self.size:
            raise ValueError(
                f"indices must be in [0, {self.size - 1}], "
                f"got {int(indices.min())} to {int(indices.max())}"
            )
        digits, rest = [], indices.long()
        for levels in self.levels:
            digits.append(rest % levels - levels // 2)
            rest = rest // levels
        return self._scaled(torch.stack(digits, dim=1).float())

    def _scaled(self, whole: Tensor) -> Tensor:
        return torch.stack(
            [x / (n // 2) for x, n in zip(whole.unbind(1), self.levels, strict=True)], dim=1
        )


def _bounded(x: Tensor, levels: int) -> Tensor:
    """Return the values of a channel, so that rounding leads to this number of levels.

    An even number of levels is not symmetric about 0: values are moved by half a level.
    """
    half = (levels - 1) * (1 - EPSILON) / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    return torch.tanh(x + math.tan(offset / half)) * half - offset


def quantizer_of(levels: Sequence[int]) -> ScalarQuantizer | None:
    """Return the quantizer of a network; None without levels."""
    return ScalarQuantizer(tuple(levels)) if levels else None
