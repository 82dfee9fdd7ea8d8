"""`PatchLoader`: the patches of a training, step by step, from any step on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from vae3d.data.patches import Batch, Draw, PatchDataset, collate
from vae3d.errors import DataError
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.seeding import numpy_generator

MicroBatch = list[Batch]


@dataclass(frozen=True)
class StepPlan:
    """Which patches this rank sees in which step: a pure function of (seed, step).

    A step takes `batch_size * accumulation * world` patches of the epoch's shuffled order; the
    last one of an epoch takes what is left, and each of its patches weighs the more.
    """

    num_patches: int
    batch_size: int
    accumulation: int
    rank: int
    world: int
    seed: int

    @property
    def patches_per_step(self) -> int:
        """Patches that all ranks together see in a step."""
        return self.batch_size * self.accumulation * self.world

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch, the last short one counted."""
        return -(-self.num_patches // self.patches_per_step)

    def step(self, step: int) -> list[list[Draw]]:
        """The micro-batches of this rank; the weights of a step sum to one over all ranks.

        A rank for which nothing is left gets one patch of weight zero, since all ranks must take
        part in the exchange of gradients.
        """
        epoch, number = divmod(step, self.steps_per_epoch)
        order = epoch_order(self.seed, epoch, self.num_patches)
        window = order[number * self.patches_per_step :][: self.patches_per_step]
        mine = np.array_split(window, self.world)[self.rank]
        draws = [Draw(epoch, int(index), 1 / len(window)) for index in mine]
        draws = draws or [Draw(epoch, int(window[0]), 0.0)]
        return [draws[i : i + self.batch_size] for i in range(0, len(draws), self.batch_size)]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_patches: int) -> NDArray[np.int64]:
    """The shuffled patch numbers of an epoch; kept, since every step of it asks again."""
    return numpy_generator(seed, "order", epoch).permutation(num_patches)


class PatchLoader:
    """Reads the patches of a plan, with worker processes if asked for."""

    def __init__(
        self,
        dataset: PatchDataset,
        batch_size: int,
        accumulation: int,
        distributed: Distributed,
        workers: int,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("there is no case to train on")
        self.dataset = dataset
        self.workers = workers
        self.pin_memory = distributed.device.type == "cuda"
        self.plan = StepPlan(
            num_patches=len(dataset),
            batch_size=batch_size,
            accumulation=accumulation,
            rank=distributed.rank,
            world=distributed.world,
            seed=dataset.seed,
        )

    def steps(self, first: int, last: int) -> Iterator[Iterator[MicroBatch]]:
        """The micro-batches of each step from `first` to before `last`.

        Those of a step must be taken before the next step is asked for.
        """
        batches = iter(self._loader(first, last))
        for step in range(first, last):
            yield islice(batches, len(self.plan.step(step)))

    def _loader(self, first: int, last: int) -> "DataLoader[MicroBatch]":
        draws: Any = (batch for step in range(first, last) for batch in self.plan.step(step))
        return DataLoader(
            cast("Dataset[MicroBatch]", self.dataset),
            batch_sampler=draws,
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            # The loader draws a seed for its workers; it must not come from the global stream.
            generator=torch.Generator().manual_seed(0),
        )
