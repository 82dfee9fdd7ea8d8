"""Codecs of a store, and the speed of a preparation against that of inflating its scans.

    python scripts/bench_store.py --scans /scans [--rounds 3] [--workers 1 2]

The first table has, for each codec, the ratio of voxels to bytes on disk, MB of voxels that one
thread compresses in a second of CPU time, and random patches that it reads in one. The second has
MB of voxels a second on the clock: of `vae3d prepare` with a number of threads, and of as many
threads that only decompress the same files (`inflate`). All alternate; medians of the rounds. The
files are in the page cache.
"""

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import blosc2
import numpy as np
import torch
from numpy.typing import NDArray

from vae3d.data.build import build_source
from vae3d.data.config import CTConfig
from vae3d.data.stored import resolve_store
from vae3d.files.gzipped import open_gzip
from vae3d.runtime.progress import Silent
from vae3d.scans.files import read_volume
from vae3d.store.arrays import CODECS, array_suffix, open_array, write_array
from vae3d.store.prepare import Preparation
from vae3d.system.cores import usable_cores

SIZES = (32, 64)
PATCHES = 200
_PIECE = 2**20
Array = NDArray[Any]


@dataclass(frozen=True)
class CodecSpeed:
    """What one codec does to the voxels of some scans; `patches` are read a second, by size."""

    codec: str
    ratio: float
    written: float
    patches: dict[int, float]


@dataclass(frozen=True)
class PrepareSpeed:
    """MB of voxels a second of one way through all scans."""

    what: str
    workers: int
    rate: float


def main() -> int:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=Path, required=True, help="a folder of .nii.gz files")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, usable_cores()}))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    paths = sorted(arguments.scans.glob("*.nii.gz"))
    with tempfile.TemporaryDirectory() as work:
        codecs = measure_codecs(paths, Path(work), arguments.rounds)
        speeds = measure_prepare(arguments.scans, Path(work), arguments.workers, arguments.rounds)
    sys.stdout.write(codec_table(codecs) + "\n" + prepare_table(speeds))
    return 0


def codec_table(rows: Sequence[CodecSpeed]) -> str:
    """Return the codecs as a Markdown table."""
    columns = " | ".join(f"patches/s of {size}^3" for size in SIZES)
    head = f"| codec | ratio | written, MB/s | {columns} |\n|---|---|---|{'---|' * len(SIZES)}\n"
    return head + "".join(
        f"| {row.codec} | {row.ratio:.2f} | {row.written:.0f} | "
        + " | ".join(f"{row.patches[size]:.0f}" for size in SIZES)
        + " |\n"
        for row in rows
    )


def prepare_table(rows: Sequence[PrepareSpeed]) -> str:
    """Return the preparations as a Markdown table."""
    lines = (f"| {row.what} | {row.workers} | {row.rate:.0f} |\n" for row in rows)
    return "| | threads | MB of voxels/s |\n|---|---|---|\n" + "".join(lines)


def measure_codecs(paths: Sequence[Path], work: Path, rounds: int) -> list[CodecSpeed]:
    """Write and read the scans with every codec, alternating, in CPU time of one thread."""
    blosc2.set_nthreads(1)
    images = [read_volume(path).data.numpy() for path in paths]
    size = sum(image.nbytes for image in images)
    written: dict[str, list[float]] = {codec: [] for codec in CODECS}
    read: dict[tuple[str, int], list[float]] = {}
    ratios = {}
    for number in range(rounds):
        for codec in CODECS:
            files = [work / f"{codec}{n}{array_suffix(codec)}" for n in range(len(images))]
            start = time.thread_time()
            for path, image in zip(files, images, strict=True):
                write_array(path, image, codec)
            written[codec].append(size / 1e6 / (time.thread_time() - start))
            ratios[codec] = size / sum(path.stat().st_size for path in files)
            arrays = [open_array(path)[0] for path in files]
            for array in arrays:
                array.verified[...] = True
            for side in SIZES:
                start = time.thread_time()
                for index, box in boxes(images, side, number):
                    np.ascontiguousarray(arrays[index][box])
                rate = PATCHES / (time.thread_time() - start)
                read.setdefault((codec, side), []).append(rate)
    median = statistics.median
    return [
        CodecSpeed(
            codec,
            ratios[codec],
            median(written[codec]),
            {side: median(read[codec, side]) for side in SIZES},
        )
        for codec in CODECS
    ]


def boxes(images: Sequence[Array], side: int, seed: int) -> Iterator[tuple[int, Any]]:
    """Yield the image and the box of random patches."""
    rng = np.random.default_rng(seed)
    for _ in range(PATCHES):
        index = int(rng.integers(len(images)))
        corner = [int(rng.integers(max(1, n - side + 1))) for n in images[index].shape[1:]]
        yield index, (slice(None), *(slice(c, c + side) for c in corner))


def measure_prepare(
    scans: Path, work: Path, workers: Sequence[int], rounds: int
) -> list[PrepareSpeed]:
    """Prepare the scans with every codec, and inflate them alone, alternating."""
    paths = sorted(scans.glob("*.nii.gz"))
    size = sum(read_volume(path).data.numpy().nbytes for path in paths)
    rates: dict[tuple[str, int], list[float]] = {}
    for number in range(rounds):
        for count in workers:
            ways: dict[str, Callable[[], object]] = {
                "inflate, Python": partial(inflate, paths, count, python_gzip),
                "inflate": partial(inflate, paths, count, open_gzip),
            }
            for codec in CODECS:
                store = work / f"store_{codec}_{count}_{number}"
                ways[f"prepare, {codec}"] = partial(prepare, scans, store, codec, count)
            for what, way in ways.items():
                start = time.perf_counter()
                way()
                rate = size / 1e6 / (time.perf_counter() - start)
                rates.setdefault((what, count), []).append(rate)
    return [
        PrepareSpeed(what, count, statistics.median(found))
        for (what, count), found in rates.items()
    ]


def python_gzip(file: BinaryIO) -> Any:
    """Return the stream of Python's own gzip."""
    return gzip.GzipFile(fileobj=file)


def inflate(paths: Sequence[Path], workers: int, reader: Callable[[BinaryIO], Any]) -> None:
    """Decompress files with this number of threads, by what opens a stream."""

    def one(path: Path) -> None:
        buffer = bytearray(_PIECE)
        with path.open("rb") as file:
            stream = reader(file)
            while stream.readinto(buffer):
                pass

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, paths))


def prepare(scans: Path, store: Path, codec: str, workers: int) -> None:
    """Prepare the scans from the beginning."""
    config = CTConfig(root=str(scans), store=str(store), codec=codec)
    source = build_source(config)
    folder, settings = resolve_store(config, source)
    Preparation(source, settings, folder, progress=Silent(), workers=workers).run()


if __name__ == "__main__":
    sys.exit(main())
