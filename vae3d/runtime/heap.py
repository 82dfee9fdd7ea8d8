"""`spare_the_heap`: large tensors in memory of their own, given back when they are freed."""

import ctypes
import os
from pathlib import Path

LARGE = 2**20
"""Bytes from which on a block is mapped on its own."""
M_MMAP_THRESHOLD = -3
"""What glibc's mallopt calls that number."""


def spare_the_heap() -> None:
    """Has glibc map large blocks each on its own, and torch ask for huge pages under them.

    Among tensors that come and go slab by slab its heap keeps gaps, half as much again as the
    tensors hold, now more, now less. Mapped blocks leave none, and huge pages make them as cheap
    as the heap. Must come before torch is imported; where there is no glibc, or no huge pages, or
    `MALLOC_MMAP_THRESHOLD_` says something else, all stays as it is.
    """
    try:
        pages = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    if "[never]" in pages or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    mallopt(M_MMAP_THRESHOLD, LARGE)
