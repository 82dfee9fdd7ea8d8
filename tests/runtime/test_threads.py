"""Threads that compute with one core each leave the number of everybody else's alone."""

from concurrent.futures import ThreadPoolExecutor

import torch

from vae3d.runtime.threads import one_core_each


def test_each_thread_has_one_and_others_keep_theirs() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_core_each() as cores:
            numbers = [*cores.map(lambda _: torch.get_num_threads(), range(6))]
            with ThreadPoolExecutor(1) as other:
                later = other.submit(torch.get_num_threads).result()
        assert numbers == [1] * 6
        assert (later, torch.get_num_threads()) == (3, 3)
    finally:
        torch.set_num_threads(before)
