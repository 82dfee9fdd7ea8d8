"""The peak memory of a computation, and the memory of the device."""

import ctypes
import os
import re
from collections.abc import Callable
from pathlib import Path

import torch

GIB = 2**30
Memory = float | int | str | None
"""A number of GiB, `auto`, or None for no limit."""


def peak_memory(function: Callable[[], None], device: torch.device) -> int | None:
    """Return the peak memory of a call of the function in bytes, above what is held before it.

    On a CPU this is resident memory as Linux counts it; None where Linux does not report it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    try:
        # Return freed memory to the system first: the call could reuse it without being counted.
        # Writing 5 to clear_refs resets the peak, VmHWM.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        function()
        return None
    before = _bytes_in_proc("self/status", "VmRSS")
    function()
    return _bytes_in_proc("self/status", "VmHWM") - before


def free_memory(device: torch.device) -> int:
    """Return the free memory of the device in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return _bytes_in_proc("meminfo", "MemAvailable")
    except (OSError, LookupError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_budget(asked: Memory, device: torch.device) -> float | None:
    """Return the memory to plan with in GiB: a number, half of the device for `auto`, or None.

    `auto` is half of the device's whole memory, not of its free memory, so that the same volume is
    always processed in the same way. The ranks of a machine share its CPU memory.
    """
    if asked != "auto":
        return None if asked is None else float(asked)
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**31
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total / int(os.environ.get("LOCAL_WORLD_SIZE", "1")) / 2**31


def _bytes_in_proc(file: str, key: str) -> int:
    """Return an entry of a file in /proc, which is in KiB, in bytes.

    Raises:
        OSError: there is no such file.
        LookupError: it has no such entry.
    """
    kibibytes = re.findall(rf"{key}:\s+(\d+)", Path("/proc", file).read_text())
    return int(kibibytes[0]) * 1024


def gib(num_bytes: float) -> str:
    """Return a number of bytes as text in GiB, with two decimals."""
    return f"{num_bytes / GIB:.2f} GiB"
