"""`Stream`: a layer that is given its input slab by slab; streams in a row, and side by side."""

from collections.abc import Callable, Iterable, Iterator

from torch import Tensor

from vae3d.streaming.planes import Planes

Layer = Callable[[Tensor], Tensor]


class Stream:
    """A layer that is given planes along the first spatial axis as they come.

    The slabs that come out, put together, are the layer's output for the slabs that went in, put
    together; it comes as soon as it depends on nothing more. After `flush` a stream begins anew.
    """

    measuring = False
    """Whether this pass over the volume is only looked at, and nothing comes out."""

    def push(self, x: Tensor) -> Tensor | None:
        """Takes planes (B, C, d, *rest) and gives those that are ready; None where none is."""
        raise NotImplementedError

    def flush(self) -> Iterator[Tensor]:
        """The planes that waited for others, now that no more come."""
        yield from ()


class Pointwise(Stream):
    """A layer that makes of each plane, on its own, one plane or several."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def push(self, x: Tensor) -> Tensor | None:
        """(B, C, d, *rest) to what the layer makes of it."""
        return self.layer(x)


class Chain(Stream):
    """Streams in a row."""

    def __init__(self, streams: list[Stream]) -> None:
        self.streams = streams

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether one of the streams only looks at what comes."""
        return any(stream.measuring for stream in self.streams)

    def push(self, x: Tensor) -> Tensor | None:
        """Planes from the first stream to the last, or to the one that holds them back."""
        return self._through(self.streams, x)

    def flush(self) -> Iterator[Tensor]:
        """Empties the streams from the first to the last, a slab at a time."""
        for number, stream in enumerate(self.streams):
            for x in stream.flush():
                y = self._through(self.streams[number + 1 :], x)
                if y is not None:
                    yield y

    def run(self, slabs: Iterable[Tensor]) -> Iterator[Tensor]:
        """All of a volume's slabs, in order, to all slabs of the output."""
        for x in slabs:
            y = self.push(x)
            # Not kept while others compute with what comes out.
            del x
            if y is not None:
                yield y
            del y
        yield from self.flush()

    def _through(self, streams: list[Stream], x: Tensor) -> Tensor | None:
        found: Tensor | None = x
        del x
        for stream in streams:
            if found is None:
                break
            found = stream.push(found)
        return found


class Residual(Stream):
    """scale * (skip(x) + main(x)): the skip's planes wait until those of the main path come."""

    def __init__(self, main: Chain, skip: Layer, scale: float = 1.0) -> None:
        self.main = main
        self.skip = skip
        self.scale = scale
        self.waiting = Planes()

    @property
    def measuring(self) -> bool:  # type: ignore[override]
        """Whether the main path only looks at what comes."""
        return self.main.measuring

    def push(self, x: Tensor) -> Tensor | None:
        """Planes of the input to those of the sum."""
        if self.measuring:
            return self.main.push(x)
        self.waiting.add(x)
        hidden = self.main.push(x)
        return None if hidden is None else self._joined(hidden)

    def flush(self) -> Iterator[Tensor]:
        """The sums that are left."""
        for hidden in self.main.flush():
            yield self._joined(hidden)
        assert not self.waiting.count, "both paths are equally long"

    def _joined(self, hidden: Tensor) -> Tensor:
        total = self.skip(self.waiting.take(hidden.shape[2])) + hidden
        return total if self.scale == 1 else total * self.scale
