"""`side_by_side`: pieces of work that know nothing of each other, each on cores of its own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def lanes(most: int) -> int:
    """Into how many equal parts torch's threads fall, at most `most`."""
    threads = torch.get_num_threads()
    return max(count for count in range(1, most + 1) if threads % count == 0)


def side_by_side(call: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[R]:
    """What `call` makes of each item, in their order, `count` of them at a time.

    Torch's threads are shared out among the items at work. Those of one operation wait for each
    other at its end, so that whatever else takes a core for a while stops them all; items do not.
    Whether gradients are recorded is the caller's choice there too.
    """
    if count == 1:
        yield from map(call, items)
        return
    threads = torch.get_num_threads()
    gradients = torch.is_grad_enabled()
    inference = torch.is_inference_mode_enabled()

    def start() -> None:
        # Whoever first asks takes what any thread set last: asked before, what is set here stays.
        torch.get_num_threads()
        torch.set_num_threads(threads // count)

    def called(item: T) -> R:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):
            return call(item)

    coming: deque[Future[R]] = deque()
    try:
        with ThreadPoolExecutor(count, initializer=start) as pool:
            for item in items:
                coming.append(pool.submit(called, item))
                # One more than are at work, so that whoever is done has the next.
                if len(coming) > count:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
    finally:
        # Threads born later take what was set last.
        torch.set_num_threads(threads)
