"""`one_core_each`: threads for work of many small operations, which torch parts badly."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch


@contextlib.contextmanager
def one_core_each() -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch computes with here, in each of which it computes with one.

    Small operations gain nothing from several threads, and whoever shares a core with one of them
    makes the others wait; parts of the work that know nothing of each other do neither.
    """
    count = torch.get_num_threads()
    started = Barrier(count + 1)

    def start() -> None:
        torch.set_num_threads(1)
        # A thread that has not asked yet would take what is said last, below.
        torch.get_num_threads()
        started.wait()

    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            pool.submit(start)
        started.wait()
        # Torch keeps a number for each thread, and what was said last for those to come.
        torch.set_num_threads(count)
        yield pool
