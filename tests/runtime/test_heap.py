"""Freed large tensors return their memory, whatever small tensors were allocated between."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

KEPT_AFTER_FREEING = """
from vae3d.runtime.heap import map_large_blocks
{first}
import os, re, sys
import torch

def resident():
    found = re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())
    return int(found[1]) / 1024

def tensors():
    return [torch.ones(2**20) for _ in range(32)]

# What is freed once teaches glibc to keep blocks of this size.
tensors()
before = resident()
between = []
large = []
for _ in range(32):
    large.append(torch.ones(2**20))
    between.append(torch.ones(2**13))
del large
print(resident() - before, os.environ.get("THP_MEM_ALLOC_ENABLE"))
"""


def kept(first: str, **environment: str) -> tuple[float, str]:
    """MiB still held after 128 MiB of tensors were freed, and what torch was asked for."""
    done = subprocess.run(
        [sys.executable, "-c", KEPT_AFTER_FREEING.format(first=first)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=True,
    )
    number, asked = done.stdout.split()
    return float(number), asked


@pytest.mark.skipif(
    not PAGES.exists() or "[never]" in PAGES.read_text(), reason="no huge pages here"
)
def test_freed_tensors_leave_no_gaps() -> None:
    held, _ = kept("")
    spared, asked = kept("map_large_blocks()")
    assert spared < 16
    assert held > 64, "else there is nothing to spare"
    assert asked == "1"


def test_a_threshold_set_by_the_user_is_kept() -> None:
    _, asked = kept("map_large_blocks()", MALLOC_MMAP_THRESHOLD_="33554432")
    assert asked == "None"
