"""`PatchLoader`: the patches of each training step, starting at any step."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vae3d.errors import DataError, ResourceError, UserError
from vae3d.loading.patches import Batch, Draw, Patch, PatchDataset, collate
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.shuffle import Shuffle
from vae3d.system.limits import limit_reached

MicroBatch = list[Batch]


@dataclass(frozen=True)
class StepPlan:
    """The patches that this rank gets in each step: a pure function of (seed, step).

    A step takes `batch_size * accumulation * world` patches of the epoch's shuffled order. The
    last step of an epoch takes the remaining ones, each with a larger weight.
    """

    num_patches: int
    batch_size: int
    accumulation: int
    rank: int
    world: int
    seed: int

    @property
    def patches_per_step(self) -> int:
        """The number of patches in a step, over all ranks."""
        return self.batch_size * self.accumulation * self.world

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in an epoch, including the last, shorter one."""
        return -(-self.num_patches // self.patches_per_step)

    def step(self, step: int) -> list[list[Draw]]:
        """Return the micro-batches of this rank; a step's weights sum to one over all ranks.

        A rank without a patch gets one of weight zero, since all ranks must take part in the
        reduction of the gradients.
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


class WorkerDataset(Dataset[Any]):
    """A dataset for worker processes: errors of cases are returned as values, not raised.

    `at` (workers, 2) is in shared memory: the process id of each worker and the number of the
    patch that it reads. It names the case if a worker dies.
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

    def cases_read(self, error: BaseException) -> str:
        """Return the cases that the workers named in an exception were reading, else of all."""
        # torch names a dead worker by its process id in the message only.
        pids = {int(word) for word in re.findall(r"\d+", str(error))}
        at = self.at.tolist()
        failed = [index for pid, index in at if pid in pids and index >= 0]
        indices = failed or [index for _, index in at if index >= 0]
        cases = {self.dataset.case_id_of(index) for index in indices}
        return ", ".join(sorted(cases)) or "its first case"


def collate_in_worker(items: list[Any]) -> MicroBatch | UserError:
    """Return the batches of `collate`, or the first error among the items."""
    return next((item for item in items if isinstance(item, UserError)), None) or collate(items)


def silence_lost_parent(worker_id: int) -> None:
    """Hide the traceback of a worker that ends because its parent process was killed.

    Its connection breaks in the middle of a handshake, which is no error to show.
    """
    show = sys.excepthook

    def hook(kind: type[Any], error: BaseException, trace: TracebackType | None) -> None:
        # Only errors of the thread that shares tensors arrive here: torch passes the errors of
        # the dataset to the main process.
        if not isinstance(error, ConnectionError | EOFError):
            show(kind, error, trace)

    sys.excepthook = hook


def _forget_frames(error: Exception) -> None:
    """Let go of torch's iterator, which shows a traceback when it is deleted half made."""
    show, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        traceback.clear_frames(error.__traceback__)
    finally:
        sys.unraisablehook = show


def started(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Return the iterator of a loader, which starts its workers.

    Workers of macOS are new processes: the dataset is pickled, which one of the user may refuse.

    Raises:
        DataError: the dataset cannot be pickled.
        OSError: a worker cannot be started; a RuntimeError too.
    """
    try:
        return iter(loader)
    except Exception as error:
        _forget_frames(error)
        if isinstance(error, OSError | RuntimeError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(
            f"the cases cannot be sent to loader workers ({reason}); use data.workers=0"
        ) from error


class PatchLoader:
    """Reads the patches of a plan, in `workers` processes or, with 0, in this one.

    `on_unreadable` is called with the name and the reason of each case that can no longer be read.
    """

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
        self.on_unreadable: Callable[[str, str], None] = lambda case_id, reason: None
        self.plan = StepPlan(
            num_patches=len(dataset),
            batch_size=batch_size,
            accumulation=accumulation,
            rank=distributed.rank,
            world=distributed.world,
            seed=dataset.seed,
        )

    def steps(self, first: int, last: int) -> Iterator[Iterator[MicroBatch]]:
        """Yield the micro-batches of each step from `first` up to, but without, `last`.

        Take all micro-batches of a step before you ask for the next step.
        """
        batches = self._report_unread(
            self._from_workers(first, last) if self.workers else self._in_process(first, last)
        )
        for step in range(first, last):
            yield islice(batches, len(self.plan.step(step)))

    def patches(self, step: int) -> list[tuple[str, Patch]]:
        """Read the patches of this rank in a step again; return them with their cases' names."""
        draws = [draw for draws in self.plan.step(step) for draw in draws]
        return [(self.dataset.case_id_of(draw.index), self.dataset[draw]) for draw in draws]

    def _report_unread(self, micro_batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """Yield the micro-batches, and report each case that can no longer be read once.

        Raises:
            DataError: more than the share `max_skipped` of the cases cannot be read.
        """
        cases = self.dataset.cases
        for micro_batch in micro_batches:
            for case_id, reason in ((c, r) for b in micro_batch for c, r in b.unread.items()):
                if case_id not in self.unread:
                    self.unread[case_id] = reason
                    self.on_unreadable(case_id, reason)
            allowed = max(1, int(cases.config.max_skipped * len(self.dataset.indices)))
            if len(self.unread) > allowed:
                raise DataError(
                    f"{len(self.unread)} of {len(self.dataset.indices)} cases cannot be read any "
                    f"more, more than data.max_skipped={cases.config.max_skipped:g} allows; the "
                    f"last one is {[*self.unread][-1]}: {[*self.unread.values()][-1]}"
                )
            yield micro_batch

    def _draws(self, first: int, last: int) -> Iterator[list[Draw]]:
        return (batch for step in range(first, last) for batch in self.plan.step(step))

    def _in_process(self, first: int, last: int) -> Iterator[MicroBatch]:
        for draws in self._draws(first, last):
            batches = collate([self.dataset[draw] for draw in draws])
            yield [batch.pin_memory() for batch in batches] if self.pin_memory else batches

    def _from_workers(self, first: int, last: int) -> Iterator[MicroBatch]:
        dataset = WorkerDataset(self.dataset, self.workers)
        batch_sampler: Any = self._draws(first, last)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batch_sampler,
            collate_fn=collate_in_worker,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            timeout=self.timeout,
            worker_init_fn=silence_lost_parent,
            # The loader draws a seed for its workers: without a generator of its own it would
            # advance the global one and change the random numbers of the training.
            generator=torch.Generator().manual_seed(0),
        )
        try:
            for batches in started(loader):
                if isinstance(batches, UserError):
                    raise batches
                yield batches
        except (RuntimeError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if limit := limit_reached(error):
                raise ResourceError(f"a loader worker failed: {limit}") from error
            raise DataError(
                f"a loader worker failed at case {dataset.cases_read(error)}: {reason}"
            ) from error
