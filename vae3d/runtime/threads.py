"""`map_concurrently`: independent calls run concurrently, each on its own share of the cores."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def lanes(most: int) -> int:
    """Return the largest number up to `most` that divides torch's thread count."""
    threads = torch.get_num_threads()
    return max(count for count in range(1, most + 1) if threads % count == 0)


def map_concurrently(call: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """Yield the results of `call` for each item, in order, from `count` items at a time.

    Torch's threads are divided among the concurrent items. The threads of one operation wait for
    each other at its end, so another process that takes a core delays all of them; items do not
    wait for each other. Gradients are recorded as in the calling thread.
    """
    if count == 1:
        yield from map(call, items)
        return
    threads = torch.get_num_threads()
    gradients = torch.is_grad_enabled()
    inference = torch.is_inference_mode_enabled()

    def start() -> None:
        # The first query of a thread replaces its count by what any thread set last. Query first,
        # so that the count set here stays.
        torch.get_num_threads()
        torch.set_num_threads(threads // count)

    def call_with_modes(item: T) -> R:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return call(item)

    pending: deque[Future[R]] = deque()
    try:
        with ThreadPoolExecutor(count, initializer=start) as pool:
            for item in items:
                pending.append(pool.submit(call_with_modes, item))
                # One item more than the workers run: a worker that finishes has the next one.
                if len(pending) > count:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
    finally:
        # New threads take the count that was set last, which `start` has changed.
        torch.set_num_threads(threads)
