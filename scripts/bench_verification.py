"""What verifying a store costs its loader, as a paired ratio: epochs that verify, and that do not.

    python scripts/bench_verification.py --made-up 8 --rounds 7

Each round opens each store twice, in turns, and draws the patches of one epoch in a random order:
once as it is, once with all arrays known to be whole. The files are in the page cache, so that the
ratio is the worst there is: a disk makes both slower. `format 1` are arrays of earlier versions,
which have no checksums of their own and are verified as a whole when they are first opened.
"""

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import torch

from vae3d.data.build import open_cases
from vae3d.data.config import StoreConfig, SyntheticConfig
from vae3d.data.stored import StoredCases
from vae3d.files.atomic import file_digest
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.patching.samplers import RandomPatches
from vae3d.runtime.shuffle import Shuffle
from vae3d.store.arrays import open_array
from vae3d.store.catalog import CaseRecord, Catalog, write_catalog

SILENT = ProgressBar("prepare", shown=False)


def main() -> int:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--made-up", type=int, default=8)
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 256, 256])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--per-volume", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for codec in ("lz4", "none"):
            store = Path(work, codec)
            data = SyntheticConfig(
                count=arguments.made_up, shape=(*arguments.shape,), store=str(store), codec=codec
            )
            open_cases(data, SILENT)
            rows.append(measured(f"{codec}, format 2", store, arguments))
            as_format_1(store)
            rows.append(measured(f"{codec}, format 1", store, arguments))
    head = "| store | patches/s unverified | patches/s, first epoch | ratio | range |"
    sys.stdout.write("\n".join([head, "|---|---|---|---|---|", *rows]) + "\n")
    return 0


def as_format_1(store: Path) -> None:
    """Remove the checksums of all arrays, as earlier versions wrote them."""
    records: list[tuple[CaseRecord, str | None]] = []
    for record in Catalog(store / "catalog.sqlite").records():
        path = store / str(record.file)
        if path.suffix == ".npy":
            array, maxima = open_array(path)
            voxels = array[(slice(None),) * len(array.shape)].copy()
            with path.open("wb") as file:
                np.save(file, voxels)
                np.save(file, maxima)
        else:
            earlier = blosc2.open(str(path), mode="a")
            del earlier.schunk.vlmeta["checksums"]
            del earlier
        records.append((replace(record, digest=file_digest(path), sums=None), None))
    (store / "checksums.json").unlink()
    write_catalog(store / "catalog.sqlite", records)


def measured(name: str, store: Path, arguments: argparse.Namespace) -> str:
    """Return a row: speeds of both, and the median of their ratios."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for number in range(arguments.rounds + 1):
        for verifies in (True, False) if number % 2 else (False, True):
            rate = epoch(store, arguments, verifies)
            if number:  # the first round fills the page cache
                rates[verifies].append(rate)
    ratios = [a / b for a, b in zip(rates[True], rates[False], strict=True)]
    return (
        f"| {name} | {statistics.median(rates[False]):.0f} | {statistics.median(rates[True]):.0f} "
        f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} |"
    )


def epoch(store: Path, arguments: argparse.Namespace, verifies: bool) -> float:
    """Return patches a second of one epoch after the store was opened."""
    cases = open_cases(StoreConfig(root=str(store)), SILENT)
    assert isinstance(cases, StoredCases)
    cases.config.val_fraction = cases.config.test_fraction = 0.0
    sampler = RandomPatches((arguments.size,) * 3, arguments.per_volume, foreground=0.0)
    dataset = PatchDataset(cases, cases.survey("train"), sampler, seed=0)
    if not verifies:
        for index in range(len(dataset.indices)):
            chunks = cases[index].verified
            if chunks is not None:
                chunks[...] = True
        cases._open_cases.clear()  # opening an array is part of both
    order = Shuffle(len(dataset), 0, "order", 0)(np.arange(len(dataset)))
    start = time.perf_counter()
    for index in order.tolist():
        case, region = dataset.case_of(Draw(0, index, 1.0))[0], dataset.region(Draw(0, index, 1.0))
        cases[case].cut(region)
    return len(dataset) / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
