"""`Planes`: what a layer keeps of the slabs that came."""

import torch
from torch import Tensor


class Planes:
    """Planes (B, C, d, *rest) that wait: they come in at the end and leave at the front."""

    def __init__(self) -> None:
        self.slabs: list[Tensor] = []

    @property
    def count(self) -> int:
        """How many planes wait."""
        return sum(slab.shape[2] for slab in self.slabs)

    def add(self, x: Tensor) -> None:
        """Puts planes behind the last."""
        self.slabs.append(x)

    def take(self, count: int, leave: int | None = None) -> Tensor:
        """The first `count` planes, of which the first `leave` (all, if None) wait no more."""
        held = torch.cat(self.slabs, dim=2) if len(self.slabs) > 1 else self.slabs[0]
        left = held[:, :, count if leave is None else leave :]
        # A view would keep the whole slab.
        self.slabs = [left.clone()] if left.shape[2] else []
        return held[:, :, :count]
