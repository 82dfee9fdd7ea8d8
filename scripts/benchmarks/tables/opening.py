"""Seconds that a command takes beyond imports until it needs the first voxel of its cases.

`scripts/bench_opening.py` measures it, each command in a process of its own.
"""

from dataclasses import dataclass

from benchmarks.result import Block
from benchmarks.scripts import script_blocks

TITLE = "Opening cases"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """Numbers of scans in a store, and how often."""

    cases: tuple[int, ...] = (10, 1000)
    rounds: int = 3


SIZES = {
    "full": Sizes(),
    "quick": Sizes(cases=(100,), rounds=1),
    "miniature": Sizes(cases=(2,), rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Measure all commands on folders of scans."""
    words = ["--cases", *map(str, sizes.cases), f"--rounds={sizes.rounds}"]
    caption = f"Seconds beyond imports until the cases are open, {sizes.rounds} rounds."
    return script_blocks("bench_opening.py", *words, captions=[caption])
