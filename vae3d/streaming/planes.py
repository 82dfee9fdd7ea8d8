"""`Planes`: what a layer keeps of the slabs that came."""

import torch
from torch import Tensor


class Planes:
    """Planes (B, C, d, *rest) that wait: they come in at the end and leave at the front.

    What stays for long stays in one place of memory, so that the heap does not fray.
    """

    def __init__(self) -> None:
        self.slabs: list[Tensor] = []
        self.place: Tensor | None = None

    @property
    def count(self) -> int:
        """How many planes wait."""
        return sum(slab.shape[2] for slab in self.slabs)

    def add(self, x: Tensor) -> None:
        """Puts planes behind the last."""
        self.slabs.append(x)

    def take(self, count: int, leave: int | None = None) -> Tensor:
        """The first `count` planes, of which the first `leave` (all, if None) wait no more."""
        if len(self.slabs) == 1:
            # What leaves may lie there.
            self.place = None
        held = torch.cat(self.slabs, dim=2) if len(self.slabs) > 1 else self.slabs[0]
        left = held[:, :, count if leave is None else leave :]
        # A view would keep the whole slab.
        self.slabs = [self._placed(left)] if left.shape[2] else []
        return held[:, :, :count]

    def _placed(self, x: Tensor) -> Tensor:
        if self.place is None or (self.place.shape, self.place.dtype) != (x.shape, x.dtype):
            self.place = x.clone()
            return self.place
        return self.place.copy_(x)
