"""What a computation takes at its peak, and what the device has."""

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
    """Bytes that calling the function takes above what is held before it, at their peak.

    On a CPU this is resident memory as Linux counts it; None where that cannot be known.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    try:
        # What was freed before is given back, so that it is not used again uncounted.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        function()
        return None
    before = _resident("VmRSS")
    function()
    return _resident("VmHWM") - before


def free_memory(device: torch.device) -> int:
    """Bytes of the device that nothing uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        found = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
        if found:
            return int(found[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def planned_memory(asked: Memory, device: torch.device) -> float | None:
    """GiB to plan with: a number, `auto` for half of what the device has, None for any.

    Of the device's whole memory, not of what is free: the same volume goes the same way each time.
    """
    if asked is None or asked != "auto":
        return None if asked is None else float(asked)
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory) / 2**31
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return total / int(os.environ.get("LOCAL_WORLD_SIZE", "1")) / 2**31


def _resident(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
