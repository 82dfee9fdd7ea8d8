"""`Stream`: a layer that receives its input slab by slab; `Chain` and `Residual` of streams."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

Layer = Callable[[Tensor], Tensor]


class PlaneBuffer:
    """A queue of planes (B, C, d, *rest): `add` appends at the end, `take` removes at the front.

    Planes that stay are copied into the same memory again and again, so that the heap is not
    fragmented.
    """

    def __init__(self) -> None:
        self.slabs: list[Tensor] = []
        self._storage: Tensor | None = None

    @property
    def count(self) -> int:
        """The number of planes in the buffer."""
        return sum(slab.shape[2] for slab in self.slabs)

    def add(self, x: Tensor) -> None:
        """Append planes."""
        self.slabs.append(x)

    def take(self, count: int, drop: int | None = None) -> Tensor:
        """Return the first `count` planes and remove the first `drop` of them (None is all)."""
        if len(self.slabs) == 1:
            # The returned planes may be a view of this memory: it must not be overwritten.
            self._storage = None
        planes = torch.cat(self.slabs, dim=2) if len(self.slabs) > 1 else self.slabs[0]
        rest = planes[:, :, count if drop is None else drop :]
        # A copy, since a view would keep the whole slab in memory.
        self.slabs = [self._stored(rest)] if rest.shape[2] else []
        return planes[:, :, :count]

    def _stored(self, x: Tensor) -> Tensor:
        storage = self._storage
        if storage is None or (storage.shape, storage.dtype) != (x.shape, x.dtype):
            self._storage = x.clone()
            return self._storage
        return storage.copy_(x)


class Stream:
    """A layer that receives a volume slab by slab along its first spatial axis.

    The concatenated output slabs are the layer's output for the concatenated input slabs. Each
    output plane is returned as soon as all planes that it depends on have been pushed. After
    `flush` a stream is ready for another volume.
    """

    measuring = False
    """Whether this pass over the volume only measures statistics and returns no planes."""

    def push(self, x: Tensor) -> Tensor | None:
        """Take planes (B, C, d, *rest) and return the output planes that are ready, or None."""
        raise NotImplementedError

    def flush(self) -> Iterator[Tensor]:
        """Yield the remaining output planes at the end of the volume."""
        yield from ()


@dataclass(eq=False)
class Pointwise(Stream):
    """A layer that computes one or more output planes from each input plane alone."""

    layer: Layer

    def push(self, x: Tensor) -> Tensor | None:
        """Return the layer's output for planes (B, C, d, *rest)."""
        return self.layer(x)


@dataclass(eq=False)
class Chain(Stream):
    """Streams that follow each other."""

    streams: list[Stream]

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether one of the streams only measures statistics."""
        return any(stream.measuring for stream in self.streams)

    def push(self, x: Tensor) -> Tensor | None:
        """Pass planes from stream to stream; None if one of them returns none."""
        return self._through(self.streams, x)

    def flush(self) -> Iterator[Tensor]:
        """Flush the streams from the first to the last, one slab at a time."""
        for number, stream in enumerate(self.streams):
            for x in stream.flush():
                y = self._through(self.streams[number + 1 :], x)
                if y is not None:
                    yield y

    def run(self, slabs: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the output slabs of all slabs of a volume, in order."""
        for x in slabs:
            y = self.push(x)
            # Free the slab before the caller computes with the output.
            del x
            if y is not None:
                yield y
            del y
        yield from self.flush()

    def _through(self, streams: list[Stream], x: Tensor) -> Tensor | None:
        y: Tensor | None = x
        # Frees the input as soon as the first stream has used it.
        del x
        for stream in streams:
            if y is None:
                break
            y = stream.push(y)
        return y


@dataclass(eq=False)
class Residual(Stream):
    """scale * (skip(x) + main(x)); the skip's planes are buffered until the main path is ready."""

    main: Chain
    skip: Layer
    scale: float = 1.0
    buffer: PlaneBuffer = field(default_factory=PlaneBuffer)

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether the main path only measures statistics."""
        return self.main.measuring

    def push(self, x: Tensor) -> Tensor | None:
        """Return the planes of the sum that are ready, or None."""
        if self.measuring:
            return self.main.push(x)
        self.buffer.add(x)
        hidden = self.main.push(x)
        return None if hidden is None else self._sum(hidden)

    def flush(self) -> Iterator[Tensor]:
        """Yield the remaining planes of the sum."""
        for hidden in self.main.flush():
            yield self._sum(hidden)
        assert not self.buffer.count, "both paths are equally long"

    def _sum(self, hidden: Tensor) -> Tensor:
        total = self.skip(self.buffer.take(hidden.shape[2])) + hidden
        return total if self.scale == 1 else total * self.scale


@dataclass(eq=False)
class Sum(Stream):
    """The sum of two paths that change the resolution; planes wait for those of the other path."""

    first: Chain
    second: Chain
    waiting: tuple[PlaneBuffer, PlaneBuffer] = field(
        default_factory=lambda: (PlaneBuffer(), PlaneBuffer())
    )

    def push(self, x: Tensor) -> Tensor | None:
        """Return the planes of the sum that are ready, or None."""
        return self._sum(self.first.push(x), self.second.push(x))

    def flush(self) -> Iterator[Tensor]:
        """Yield the remaining planes of the sum."""
        # The number of planes is the same in the end, whichever path is ahead.
        for planes in self.first.flush():
            ready = self._sum(planes, None)
            if ready is not None:
                yield ready
        for planes in self.second.flush():
            ready = self._sum(None, planes)
            if ready is not None:
                yield ready
        assert not any(buffer.count for buffer in self.waiting), "both paths are equally long"

    def _sum(self, first: Tensor | None, second: Tensor | None) -> Tensor | None:
        for buffer, planes in zip(self.waiting, (first, second), strict=True):
            if planes is not None:
                buffer.add(planes)
        count = min(buffer.count for buffer in self.waiting)
        if not count:
            return None
        one, other = (buffer.take(count) for buffer in self.waiting)
        return one + other
