"""`PatchLoader`: the patches of a training, step by step, from any step on."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vae3d.data.patches import Batch, Draw, Patch, PatchDataset, collate
from vae3d.errors import DataError, UserError
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.shuffle import Shuffle

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
        first = number * self.patches_per_step
        last = min(first + self.patches_per_step, self.num_patches)
        order = Shuffle(self.num_patches, self.seed, "order", epoch)
        window = order(np.arange(first, last))
        mine = np.array_split(window, self.world)[self.rank]
        draws = [Draw(epoch, int(index), 1 / len(window)) for index in mine]
        draws = draws or [Draw(epoch, int(window[0]), 0.0)]
        return [draws[i : i + self.batch_size] for i in range(0, len(draws), self.batch_size)]


class WatchedDataset(Dataset[Any]):
    """A dataset in worker processes: what is wrong with a case comes home as a value.

    `at` (workers, 2) holds in shared memory the process of each worker and the patch number that
    it reads, for the one who must tell what a dead worker was at.
    """

    def __init__(self, dataset: PatchDataset, workers: int) -> None:
        self.dataset = dataset
        self.at = torch.full((workers, 2), -1, dtype=torch.int64)
        self.at.share_memory_()  # type: ignore[no-untyped-call]

    def __getitem__(self, draw: Draw) -> Patch | UserError:
        worker = get_worker_info()
        assert worker is not None
        self.at[worker.id] = torch.tensor([os.getpid(), draw.index])
        try:
            return self.dataset[draw]
        except UserError as error:
            return error

    def told(self, error: BaseException) -> str:
        """Which case the worker that an exception speaks of was at."""
        pids = {int(word) for word in re.findall(r"\d+", str(error))}
        at = self.at.tolist()
        guilty = [index for pid, index in at if pid in pids and index >= 0]
        indices = guilty or [index for _, index in at if index >= 0]
        cases = {self.dataset.case_id_of(index) for index in indices}
        return ", ".join(sorted(cases)) or "its first case"


def collate_watched(items: list[Any]) -> MicroBatch | UserError:
    """`collate`, or the first error among the items."""
    return next((item for item in items if isinstance(item, UserError)), None) or collate(items)


def quiet_when_orphaned(worker_id: int) -> None:
    """A worker whose parent was killed ends; half a handshake with it is no error to show."""
    show = sys.excepthook

    def shown(kind: type[Any], error: BaseException, trace: TracebackType | None) -> None:
        # Only the thread that hands tensors over comes here; what reading raises goes home.
        if not isinstance(error, ConnectionError | EOFError):
            show(kind, error, trace)

    sys.excepthook = shown


class PatchLoader:
    """Reads the patches of a plan, with worker processes if asked for."""

    def __init__(
        self,
        dataset: PatchDataset,
        batch_size: int,
        accumulation: int,
        distributed: Distributed,
        workers: int,
        timeout: float = 0,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("there is no case to train on")
        self.dataset = dataset
        self.workers = workers
        self.timeout = timeout
        self.pin_memory = distributed.device.type == "cuda"
        self.unread: dict[str, str] = {}
        self.on_unread: Callable[[str, str], None] = lambda case_id, reason: None
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
        batches = self._heard(
            self._watched(first, last) if self.workers else self._alone(first, last)
        )
        for step in range(first, last):
            yield islice(batches, len(self.plan.step(step)))

    def patches(self, step: int) -> list[tuple[str, Patch]]:
        """The patches that this rank saw in a step, read again, with the names of their cases."""
        draws = [draw for draws in self.plan.step(step) for draw in draws]
        return [(self.dataset.case_id_of(draw.index), self.dataset[draw]) for draw in draws]

    def _heard(self, micro_batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """The same, while each case that others stand for is reported once.

        Raises:
            DataError: they are too many.
        """
        cases = self.dataset.cases
        for micro_batch in micro_batches:
            for case_id, reason in ((c, r) for b in micro_batch for c, r in b.unread.items()):
                if case_id not in self.unread:
                    self.unread[case_id] = reason
                    self.on_unread(case_id, reason)
            most = max(1, int(cases.config.max_skipped * len(self.dataset.indices)))
            if len(self.unread) > most:
                raise DataError(
                    f"{len(self.unread)} of {len(self.dataset.indices)} cases cannot be read any "
                    f"more, more than data.max_skipped={cases.config.max_skipped:g} allows; the "
                    f"last one is {[*self.unread][-1]}: {[*self.unread.values()][-1]}"
                )
            yield micro_batch

    def _draws(self, first: int, last: int) -> Iterator[list[Draw]]:
        return (batch for step in range(first, last) for batch in self.plan.step(step))

    def _alone(self, first: int, last: int) -> Iterator[MicroBatch]:
        for draws in self._draws(first, last):
            batches = collate([self.dataset[draw] for draw in draws])
            yield [batch.pin_memory() for batch in batches] if self.pin_memory else batches

    def _watched(self, first: int, last: int) -> Iterator[MicroBatch]:
        dataset = WatchedDataset(self.dataset, self.workers)
        batch_sampler: Any = self._draws(first, last)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=collate_watched,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            timeout=self.timeout,
            worker_init_fn=quiet_when_orphaned,
            # The loader draws a seed for its workers; it must not come from the global stream.
            generator=torch.Generator().manual_seed(0),
        )
        try:
            for batches in loader:
                if isinstance(batches, UserError):
                    raise batches
                yield batches
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(
                f"a loader worker failed at case {dataset.told(error)}: {reason}"
            ) from error
