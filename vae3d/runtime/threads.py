"""`Lanes`: independent calls run at the same time, each on threads of its own."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch

from vae3d.system.cores import quota

T = TypeVar("T")
R = TypeVar("R")


class Lanes:
    """`count` calls at a time, each on `threads` threads of torch; None is all that it has.

    The threads of one operation wait for each other at its end, so another process that takes a
    core delays all of them; calls in lanes do not wait for each other. One lane is the calling
    thread itself.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self.count = count
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    @contextlib.contextmanager
    def of(cls, count: int) -> Iterator["Lanes"]:
        """Enter with lanes among which the threads of torch are divided, which then end."""
        with contextlib.closing(cls(count, torch.get_num_threads() // count)) as lanes:
            yield lanes

    def map(self, call: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
        """Yield the results of `call` for each item, in the order of the items.

        Gradients are recorded as in the calling thread. An error comes to the caller when no call
        runs any more.
        """
        if self.count == 1:
            for item in items:
                with using_threads(self.threads):
                    result = call(item)
                # Items may be whole volumes: none is held while its result is used.
                del item
                yield result
                del result
            return
        # Started when needed: processes that are forked before have no threads to inherit.
        self._pool = pool = self._pool or started_pool(
            self.count, self.threads or torch.get_num_threads()
        )
        gradients = torch.is_grad_enabled()
        inference = torch.is_inference_mode_enabled()

        def call_with_modes(item: T) -> R:
            with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
                return call(item)

        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(call_with_modes, item))
                del item
                # One item more than the lanes run: a lane that finishes has the next one.
                if len(pending) > self.count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                if not future.cancel():
                    future.exception()

    def close(self) -> None:
        """End the threads."""
        if self._pool:
            self._pool.shutdown()
        self._pool = None


def started_pool(count: int, threads: int) -> ThreadPoolExecutor:
    """Return `count` running threads with `threads` threads of torch each."""
    own = torch.get_num_threads()
    all_run = Barrier(count)

    def start() -> None:
        # The first query of a thread replaces its count by what any thread set last. Query first,
        # so that the count set here stays.
        torch.get_num_threads()
        torch.set_num_threads(threads)

    pool = ThreadPoolExecutor(count, initializer=start, thread_name_prefix="lane")
    try:
        # Each call keeps its thread until all have one.
        for future in [pool.submit(all_run.wait) for _ in range(count)]:
            future.result()
    except BaseException:
        all_run.abort()
        pool.shutdown()
        raise
    finally:
        # New threads take the count that was set last, which `start` has changed.
        torch.set_num_threads(own)
    return pool


@contextlib.contextmanager
def using_threads(count: int | None) -> Iterator[None]:
    """Compute on this number of torch's threads inside the context; None changes nothing."""
    before = torch.get_num_threads()
    if count in (None, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def follow_quota() -> None:
    """Let torch use no more threads than the quota of a container; it knows the affinity itself.

    `OMP_NUM_THREADS` has the last word.
    """
    cores = quota()
    if cores and cores < torch.get_num_threads() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores)


def lanes(most: int) -> int:
    """Return the largest number up to `most` that divides torch's thread count."""
    threads = torch.get_num_threads()
    return max(count for count in range(1, most + 1) if threads % count == 0)


def map_concurrently(call: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """Yield the results of `call` for each item, in order, from `count` items at a time.

    Torch's threads are divided among the concurrent items.
    """
    with Lanes.of(count) as concurrent:
        yield from concurrent.map(call, items)
