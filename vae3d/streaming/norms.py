"""The stream of a norm that takes mean and variance from the whole volume."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vae3d.streaming.stream import Stream


class MeasuredNorm(Stream):
    """A group norm whose statistics a pass of their own finds.

    In its first pass it adds up, in float64, the values and squares of each group, and nothing
    comes out; from then on it norms.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        self.norm = norm
        self.scale: Tensor | None = None
        self.shift: Tensor | None = None
        self.sums: Tensor | None = None
        self.numbers = 0

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether the statistics are not known yet."""
        return self.scale is None

    def push(self, x: Tensor) -> Tensor | None:
        """Planes to normed ones of the same type, or to None in the pass that measures."""
        if self.scale is None or self.shift is None:
            for plane in x.unbind(dim=2):
                self._add(plane)
            return None
        shape = (*self.scale.shape, *(1,) * (x.dim() - 2))
        scale, shift = self.scale.reshape(shape), self.shift.reshape(shape)
        return torch.addcmul(shift, x, scale).to(x.dtype)

    def flush(self) -> Iterator[Tensor]:
        """Ends the pass that measures, if any planes came."""
        if self.sums is not None:
            self._settle(self.sums / self.numbers)
            self.sums = None
        yield from ()

    def _add(self, plane: Tensor) -> None:
        groups = plane.double().reshape(plane.shape[0], self.norm.num_groups, -1)
        sums = torch.stack([groups.sum(dim=2), groups.square().sum(dim=2)])
        self.sums = sums if self.sums is None else self.sums + sums
        self.numbers += groups.shape[2]

    def _settle(self, means: Tensor) -> None:
        """Takes over the means (2, B, groups) of values and squares as a factor and a summand."""
        mean, square = means
        variance = (square - mean.square()).clamp(min=0)
        share = self.norm.num_channels // self.norm.num_groups
        factor = torch.rsqrt(variance + self.norm.eps).repeat_interleave(share, dim=1)
        scale = self.norm.weight.double() * factor
        shift = self.norm.bias.double() - mean.repeat_interleave(share, dim=1) * scale
        self.scale, self.shift = scale.to(self.norm.weight), shift.to(self.norm.weight)
