"""`Load`: how much of the machine other processes used while a table was measured."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

IDLE_CORES = 0.1
"""Cores that other processes may use, on average, on a machine that counts as idle."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """Cores that other processes used on average before and during a measurement.

    Both are None where the system does not count them. `average` is the load average of the
    minute before, `own` the CPU seconds of the measurement itself.
    """

    before: float | None
    during: float | None
    average: float
    own: float

    @property
    def is_idle(self) -> bool:
        """Whether nothing else took part, as far as is known."""
        return self.during is not None and self.during <= IDLE_CORES

    def sentence(self) -> str:
        """Return one sentence about the load."""
        if self.during is None or self.before is None:
            return f"Load average before: {self.average:.1f}; what others used is not known."
        kind = "Nothing else ran" if self.is_idle else "**The machine was busy**"
        return (
            f"{kind}: other processes used {self.during:.2f} cores on average, "
            f"{self.before:.2f} just before."
        )


class LoadMeter:
    """Counts the CPU time of others from its creation on: `before` first, then `load`."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.average = os.getloadavg()[0]
        self._mark()
        time.sleep(seconds)
        self.before = self._others()
        self._mark()

    def load(self) -> Load:
        """Return the load; the processes that this one started must have ended."""
        others, own = self._others(), own_seconds() - self._own
        return Load(self.before, others, round(self.average, 2), round(own, 1))

    def _mark(self) -> None:
        self._start, self._busy, self._own = time.monotonic(), busy_seconds(), own_seconds()

    def _others(self) -> float | None:
        busy = busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = busy - self._busy - (own_seconds() - self._own)
        return round(max(0.0, others) / max(time.monotonic() - self._start, 1e-9), 3)


def busy_seconds() -> float | None:
    """Return the CPU seconds since the start of the system, of the cores that are ours.

    What a hypervisor gave to other systems counts as busy. None where there is no /proc/stat.
    """
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    total = 0
    for name, *counts in (line.split() for line in lines):
        if name in names:
            # user nice system idle iowait irq softirq steal; guests are part of user.
            user, nice, system, _, _, *rest = map(int, counts[:8])
            total += user + nice + system + sum(rest)
    return total / TICKS


def own_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
