"""Streams of layers whose output depends on several planes."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vae3d.streaming.stream import Layer, PlaneBuffer, Stream


class SlidingWindow(Stream):
    """A layer whose output depends on windows of `kernel` planes, `stride` planes apart.

    From (n - 1) * stride + kernel planes, the layer computes the planes of n windows. `border` is
    the padding before and after the volume: zeros, or its outermost planes with `replicate`.
    """

    def __init__(
        self,
        layer: Layer,
        kernel: int,
        stride: int = 1,
        border: tuple[int, int] = (0, 0),
        replicate: bool = False,
    ) -> None:
        assert kernel >= stride, "every plane is in a window"
        self.layer = layer
        self.kernel = kernel
        self.stride = stride
        self.before, self.after = border
        self.replicate = replicate
        self.buffer = PlaneBuffer()
        self.last: Tensor | None = None

    def push(self, x: Tensor) -> Tensor | None:
        """Return the output planes of the windows that are complete, or None."""
        if self.last is None and self.before:
            self.buffer.add(self._border(x[:, :, :1], self.before))
        self.buffer.add(x)
        # Without `replicate` only the shape of a plane is needed: no plane is kept.
        self.last = x[:, :, -1:].clone() if self.replicate else x[:, :, :0].clone()
        return self._ready()

    def flush(self) -> Iterator[Tensor]:
        """Yield the planes of the windows that reach past the end."""
        if self.last is None:
            return
        if self.after:
            self.buffer.add(self._border(self.last, self.after))
        y = self._ready()
        self.buffer, self.last = PlaneBuffer(), None
        if y is not None:
            yield y

    def _ready(self) -> Tensor | None:
        windows = (self.buffer.count - self.kernel) // self.stride + 1
        if windows < 1:
            return None
        reach = (windows - 1) * self.stride + self.kernel
        return self.layer(self.buffer.take(reach, drop=windows * self.stride))

    def _border(self, plane: Tensor, count: int) -> Tensor:
        shape = (*plane.shape[:2], count, *plane.shape[3:])
        return plane.expand(shape) if self.replicate else zeros_like_planes(plane, shape)


def zeros_like_planes(plane: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return zeros (B, C, d, *rest), on a GPU in the memory format of a plane.

    Slabs that begin with a border take its format, and a convolution whose weights are channels
    last would first copy slabs of another one. On a CPU the format decides about the rounding of
    results, which stay as they were.
    """
    if plane.is_cpu or plane.stride(1) != 1:
        return plane.new_zeros(shape)
    batch, channels, *spatial = shape
    return plane.new_zeros(batch, *spatial, channels).movedim(-1, 1)


@dataclass(eq=False)
class TiledWindows(Stream):
    """A layer of windows that tile the axis from its first plane; the last may be smaller."""

    layer: Layer
    side: int
    buffer: PlaneBuffer = field(default_factory=PlaneBuffer)

    def push(self, x: Tensor) -> Tensor | None:
        """Return the planes of all windows that are complete, or None."""
        self.buffer.add(x)
        ready = self.buffer.count - self.buffer.count % self.side
        return self.layer(self.buffer.take(ready)) if ready else None

    def flush(self) -> Iterator[Tensor]:
        """Yield the planes of the last window."""
        if self.buffer.count:
            yield self.layer(self.buffer.take(self.buffer.count))


@dataclass(eq=False)
class Gather(Stream):
    """A layer whose output depends on all planes; its output is as thick as the thickest slab."""

    layer: Layer
    slabs: list[Tensor] = field(default_factory=list)

    def push(self, x: Tensor) -> Tensor | None:
        """Keep the planes until `flush`, and return None."""
        self.slabs.append(x)
        return None

    def flush(self) -> Iterator[Tensor]:
        """Yield slabs of the layer's output for all planes."""
        if not self.slabs:
            return
        size = max(slab.shape[2] for slab in self.slabs)
        whole = torch.cat(self.slabs, dim=2)
        self.slabs = []
        yield from torch.split(self.layer(whole), size, dim=2)


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
