"""Streams of layers that look at several planes at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vae3d.streaming.planes import Planes
from vae3d.streaming.stream import Layer, Stream


class Sliding(Stream):
    """A layer whose output depends on windows of `kernel` planes, `stride` planes apart.

    The layer makes the planes of n windows of (n - 1) * stride + kernel planes. `before` and
    `after` continue the volume: by zeros, or by its outermost planes (`replicate`).
    """

    def __init__(
        self,
        layer: Layer,
        kernel: int,
        stride: int = 1,
        border: tuple[int, int] = (0, 0),
        replicate: bool = False,
    ) -> None:
        assert kernel >= stride, "no plane is skipped"
        self.layer = layer
        self.kernel = kernel
        self.stride = stride
        self.before, self.after = border
        self.replicate = replicate
        self.waiting = Planes()
        self.last: Tensor | None = None

    def push(self, x: Tensor) -> Tensor | None:
        """Planes to what the windows that are complete become."""
        if self.last is None and self.before:
            self.waiting.add(self._border(x[:, :, :1], self.before))
        self.waiting.add(x)
        # An empty last plane has the shape of a border, at no cost.
        self.last = x[:, :, -1:].clone() if self.replicate else x[:, :, :0].clone()
        return self._ready()

    def flush(self) -> Iterator[Tensor]:
        """The windows that reach past the end."""
        if self.last is None:
            return
        if self.after:
            self.waiting.add(self._border(self.last, self.after))
        y = self._ready()
        self.waiting, self.last = Planes(), None
        if y is not None:
            yield y

    def _ready(self) -> Tensor | None:
        windows = (self.waiting.count - self.kernel) // self.stride + 1
        if windows < 1:
            return None
        reach = (windows - 1) * self.stride + self.kernel
        return self.layer(self.waiting.take(reach, leave=windows * self.stride))

    def _border(self, plane: Tensor, count: int) -> Tensor:
        batch, channels, _, *rest = plane.shape
        if self.replicate:
            return plane.expand(batch, channels, count, *rest)
        return plane.new_zeros(batch, channels, count, *rest)


class Rows(Stream):
    """A layer of windows that tile the axis from its first plane; the last may be smaller."""

    def __init__(self, layer: Layer, side: int) -> None:
        self.layer = layer
        self.side = side
        self.waiting = Planes()

    def push(self, x: Tensor) -> Tensor | None:
        """Planes to those of all windows that are complete."""
        self.waiting.add(x)
        ready = self.waiting.count - self.waiting.count % self.side
        return self.layer(self.waiting.take(ready)) if ready else None

    def flush(self) -> Iterator[Tensor]:
        """The last window."""
        if self.waiting.count:
            yield self.layer(self.waiting.take(self.waiting.count))


class Gathered(Stream):
    """A layer that sees all planes at once, and is streamed on in slabs as large as came."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self.slabs: list[Tensor] = []

    def push(self, x: Tensor) -> Tensor | None:
        """Keeps the planes."""
        self.slabs.append(x)
        return None

    def flush(self) -> Iterator[Tensor]:
        """What the layer makes of all of them."""
        if not self.slabs:
            return
        size = max(slab.shape[2] for slab in self.slabs)
        whole = torch.cat(self.slabs, dim=2)
        self.slabs = []
        yield from torch.split(self.layer(whole), size, dim=2)
