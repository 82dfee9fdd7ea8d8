"""Streams of layers whose output depends on several planes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vae3d.streaming.planes import PlaneBuffer
from vae3d.streaming.stream import Layer, Stream


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
        batch, channels, _, *rest = plane.shape
        if self.replicate:
            return plane.expand(batch, channels, count, *rest)
        return plane.new_zeros(batch, channels, count, *rest)


class TiledWindows(Stream):
    """A layer of windows that tile the axis from its first plane; the last may be smaller."""

    def __init__(self, layer: Layer, side: int) -> None:
        self.layer = layer
        self.side = side
        self.buffer = PlaneBuffer()

    def push(self, x: Tensor) -> Tensor | None:
        """Return the planes of all windows that are complete, or None."""
        self.buffer.add(x)
        ready = self.buffer.count - self.buffer.count % self.side
        return self.layer(self.buffer.take(ready)) if ready else None

    def flush(self) -> Iterator[Tensor]:
        """Yield the planes of the last window."""
        if self.buffer.count:
            yield self.layer(self.buffer.take(self.buffer.count))


class Gather(Stream):
    """A layer whose output depends on all planes; its output is as thick as the thickest slab."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.slabs: list[Tensor] = []

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
