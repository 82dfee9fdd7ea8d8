"""The stream of a norm whose mean and variance are of the whole volume."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vae3d.streaming.stream import Stream


class MeasuredNorm(Stream):
    """A group norm that measures its statistics in a separate pass.

    In its first pass it sums the values and squares of each group, in float64, and returns no
    planes. In later passes it normalises.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        self.norm = norm
        self.scale: Tensor | None = None
        self.shift: Tensor | None = None
        self.sums: Tensor | None = None
        self.numbers = 0

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether the statistics are still to be measured."""
        return self.scale is None

    def push(self, x: Tensor) -> Tensor | None:
        """Return the normalised planes in the same type, or None in the pass that measures."""
        if self.scale is None or self.shift is None:
            for plane in x.unbind(dim=2):
                self._add(plane)
            return None
        shape = (*self.scale.shape, *(1,) * (x.dim() - 2))
        scale, shift = self.scale.reshape(shape), self.shift.reshape(shape)
        return torch.addcmul(shift, x, scale).to(x.dtype)

    def flush(self) -> Iterator[Tensor]:
        """End the pass that measures, if any planes were pushed."""
        if self.sums is not None:
            self._set_statistics(self.sums / self.numbers)
            self.sums = None
        yield from ()

    def _add(self, plane: Tensor) -> None:
        groups = plane.double().reshape(plane.shape[0], self.norm.num_groups, -1)
        sums = torch.stack([groups.sum(dim=2), groups.square().sum(dim=2)])
        self.sums = sums if self.sums is None else self.sums + sums
        self.numbers += groups.shape[2]

    def _set_statistics(self, means: Tensor) -> None:
        """Set scale and shift from the means (2, B, groups) of values and squares."""
        mean, square = means
        # Rounding can make the difference slightly negative.
        variance = (square - mean.square()).clamp(min=0)
        per_group = self.norm.num_channels // self.norm.num_groups
        factor = torch.rsqrt(variance + self.norm.eps).repeat_interleave(per_group, dim=1)
        scale = self.norm.weight.double() * factor
        shift = self.norm.bias.double() - mean.repeat_interleave(per_group, dim=1) * scale
        self.scale, self.shift = scale.to(self.norm.weight), shift.to(self.norm.weight)
