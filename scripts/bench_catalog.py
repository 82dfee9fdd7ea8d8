"""Opens a catalog of made-up cases: `bench_catalog.py --cases 1000000`.

Prints what writing it took, and for a fresh process the seconds and the memory of opening it, of
its splits, of the patches of `patching=full`, and of one case in the middle.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from vae3d.data.config import StoreConfig
from vae3d.data.stored import StoredCases
from vae3d.files.atomic import write_json
from vae3d.loading.patches import PatchDataset
from vae3d.patching.samplers import GridPatches
from vae3d.runtime.messages import show_messages
from vae3d.scans.volume import SourceGeometry
from vae3d.store.arrays import array_file
from vae3d.store.catalog import CaseRecord, write_catalog
from vae3d.store.settings import CATALOG, SETTINGS, StoreSettings
from vae3d.values.voxel_statistics import PERCENTILES, VoxelStatistics

log = logging.getLogger("vae3d.bench_catalog")


def main() -> int:
    """Writes and opens."""
    show_messages()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        open_catalog(arguments.open)
        return 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        contract = {"kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU"}
        settings = StoreSettings({"kind": "CT"}, "fail", "lz4", 3, contract)
        write_json(folder / SETTINGS, asdict(settings))
        start = time.perf_counter()
        write_catalog(folder / CATALOG, made_up(arguments.cases))
        size = (folder / CATALOG).stat().st_size / 2**20
        log.info(f"written: {time.perf_counter() - start:.1f} s, {size:.0f} MiB")
        subprocess.run([sys.executable, __file__, "--open", str(folder)], check=True)
    return 0


def made_up(count: int) -> Iterator[tuple[CaseRecord, None]]:
    """Records as large as those of real scans, of a hundred shapes."""
    affine = tuple(map(tuple, np.diag([0.81234567, 0.81234567, 1.25, 1.0]).tolist()))
    for number in range(count):
        shape = (100 + number % 100, 512, 512)
        path = f"/scans/site{number % 97:02d}/patient{number:07d}/series/ct.nii.gz"
        record = CaseRecord(
            case_id=f"site{number % 97:02d}/patient{number:07d}/series/ct",
            source=path,
            stamp=f"{number * 7919}:{number}",
            file=array_file(path.removeprefix("/scans/").removesuffix(".nii.gz"), "lz4"),
            num_bytes=10**7,
            digest="0" * 64,
            dtype="int16",
            channels=1,
            shape=shape,
            affine=affine,
            geometry=SourceGeometry(Path(path), shape[::-1], np.array(affine), "int16"),
            statistics=VoxelStatistics(
                -1024.0, 3071.0, -512.25, 480.125, tuple(map(float, PERCENTILES)), 0, "0" * 32
            ),
            box=((0, 10, 20), shape),
        )
        yield record, None


def open_catalog(folder: Path) -> None:
    """In a process of its own, each part after the other."""
    before = resident()
    start = time.perf_counter()

    def tell(what: str) -> None:
        nonlocal start
        spent = time.perf_counter() - start
        log.info(f"{what}: {spent:.2f} s, {resident() - before:.0f} MiB above start")
        start = time.perf_counter()

    cases = StoredCases(folder, StoreConfig(root=str(folder)))
    tell(f"opened {len(cases.catalog)} cases")
    train = cases.survey("train")
    tell("splits")
    dataset = PatchDataset(cases, train, GridPatches(size=(64, 64, 64)), seed=0)
    tell(f"patching=full knows its {len(dataset)} patches")
    record = cases.catalog.record(int(train[len(train) // 2]))
    tell(f"one record ({record.case_id})")


def resident() -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
