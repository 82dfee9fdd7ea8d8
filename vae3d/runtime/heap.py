"""`map_large_blocks`: the memory of large tensors returns to the system when they are freed."""

import ctypes
import os
from pathlib import Path

MMAP_THRESHOLD_BYTES = 2**20
"""Larger blocks are mapped, each on its own, instead of taken from the heap."""
M_MMAP_THRESHOLD = -3
"""The number of that parameter for glibc's mallopt, from malloc.h."""


def map_large_blocks() -> None:
    """Make glibc map each large block on its own, and torch ask for huge pages for them.

    The heap fragments while tensors are allocated and freed slab by slab: its gaps take about half
    as much memory as the tensors, sometimes more. Mapped blocks leave no gaps, and huge pages make
    them as fast as the heap. Call this before torch is imported. It does nothing without glibc,
    without huge pages, or if `MALLOC_MMAP_THRESHOLD_` is set.
    """
    try:
        pages = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    if "[never]" in pages or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
