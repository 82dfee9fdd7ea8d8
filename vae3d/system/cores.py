"""`usable_cores`: the cores that this process may keep busy."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of cores by the affinity of this process and the quota of its cgroups.

    A container or a job may have a small share of a large machine, which the number of cores of
    the machine does not tell.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(cores, quota() or cores)


def quota() -> int | None:
    """Return the whole cores that the cgroups of this process grant it; None without a limit."""
    quotas = [*_quotas()]
    return max(1, math.floor(min(quotas))) if quotas else None


def _quotas() -> Iterator[float]:
    """Yield the quota, in cores, of each cgroup that this process is in, and of those above."""
    for line in _lines(MEMBERSHIP):
        controllers, path = line.split(":", 2)[1:]
        if not controllers:
            root, files = CGROUPS, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            root, files = CGROUPS / "cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        # Inside of a container the path may be that of the machine outside, where nothing is.
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root):
                words = " ".join(line for file in files for line in _lines(folder / file)).split()
                yield from _quota(words)


def _quota(words: list[str]) -> Iterator[float]:
    """Yield the ratio of microseconds of work to those of a period; nothing without a limit."""
    with contextlib.suppress(ValueError):
        work, period = map(int, words)
        if work > 0 and period > 0:
            yield work / period


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
