"""Codecs of a store, and the speed of a preparation against that of inflating its scans.

`scripts/bench_store.py` measures it: compression, and MB of voxels a second.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.result import Block
from benchmarks.scripts import script_blocks
from benchmarks.tables import loader

TITLE = "Codecs and preparation"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """A folder of NIfTI files, or made-up ones of a shape, and how often."""

    scans: str = ""
    made_up: int = 6
    shape: tuple[int, ...] = (160, 256, 256)
    rounds: int = 3


SIZES = {
    "full": Sizes(),
    "quick": Sizes(made_up=1, shape=(64, 96, 96), rounds=1),
    "miniature": Sizes(made_up=1, shape=(64, 64, 64), rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Measure codecs and preparations of the same scans."""
    with tempfile.TemporaryDirectory() as name:
        wanted = loader.Sizes(made_up=sizes.made_up, shape=sizes.shape)
        scans = Path(sizes.scans).resolve() if sizes.scans else Path(name, "scans")
        if not sizes.scans:
            loader.make_scans(scans, wanted)
        what = f"{len([*scans.glob('*.nii.gz')])} scans, {sizes.rounds} rounds"
        captions = [
            f"{what}: MB of voxels and patches a second of CPU time of one thread.",
            f"{what}: MB of voxels a second on the clock.",
        ]
        words = [f"--scans={scans}", f"--rounds={sizes.rounds}"]
        return script_blocks("bench_store.py", *words, captions=captions)
