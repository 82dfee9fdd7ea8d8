"""`PlaneBuffer`: the planes that a layer still needs."""

import torch
from torch import Tensor


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
