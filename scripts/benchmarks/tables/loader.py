"""Random patches a second and memory: vae3d's store, RAM and raw files against its peers.

All contenders cut from the same files, in one process on one thread. What is cut has the scan's
own units, as the peers return it; "finished" are whole training items, scaled to [-1, 1] and
padded. vae3d takes its patches in a random order over all scans, TorchIO and MONAI 8 or 1 of a
scan before the next. Files are in the page cache: decoding is measured, no disk.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import torch

import bench_loader
from benchmarks.machine import version
from benchmarks.result import Block
from benchmarks.timing import alternate
from vae3d.data.config import CTConfig
from vae3d.phantoms.chest import phantom
from vae3d.store.arrays import CODECS

TITLE = "Loading patches"
PEERS = ("torchio", "monai", "nibabel")
Make = Callable[[], Iterator[torch.Tensor]]


@dataclass(frozen=True)
class Sizes:
    """A folder of NIfTI files, or made-up ones of a shape; the patch; how long and how often."""

    scans: str = ""
    made_up: int = 12
    shape: tuple[int, ...] = (160, 256, 256)
    size: tuple[int, ...] = (64, 64, 64)
    turn_seconds: float = 4.0
    rounds: int = 3


SIZES = {
    "full": Sizes(),
    "quick": Sizes(made_up=3, shape=(96, 128, 128), turn_seconds=0.5, rounds=2),
    "miniature": Sizes(made_up=2, shape=(8, 24, 24), size=(8, 8, 8), turn_seconds=0.0, rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Time all contenders on the same scans."""
    threads, codec_threads = torch.get_num_threads(), blosc2.set_nthreads(1)
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scans = Path(sizes.scans) if sizes.scans else make_scans(folder / "scans", sizes)
            return [compare(scans, folder, sizes)]
    finally:
        torch.set_num_threads(threads)
        blosc2.set_nthreads(codec_threads)


def make_scans(folder: Path, sizes: Sizes) -> Path:
    """Write phantoms as int16 .nii.gz, like chest CTs cropped to the body."""
    folder.mkdir()
    for index in range(sizes.made_up):
        voxels = phantom(sizes.shape, 0, index).astype(np.int16).transpose(2, 1, 0)
        image = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1.0]))
        nibabel.save(image, folder / f"scan{index:04d}.nii.gz")
    return folder


def compare(scans: Path, folder: Path, sizes: Sizes) -> Block:
    """Measure every contender in each round."""
    peaks: dict[str, float] = {}

    def rate(name: str, make: Make) -> float:
        patches = make()
        next(patches)
        found, peak = bench_loader.measured(patches, max(sizes.turn_seconds, 1e-3), sizes.size)
        peaks[name] = max(peaks.get(name, 0.0), peak)
        return found

    makers = contenders(scans, folder, sizes.size)
    samples = alternate(
        {name: partial(rate, name, make) for name, make in makers.items()},
        sizes.rounds,
        warm_up=False,
    )
    rows = []
    for name in makers:
        spread = samples.spread(name)
        speed = f"{spread.median:.0f}" if spread.median >= 0.5 else "< 0.5"
        rows.append([name, speed, f"{spread.low:.0f} to {spread.high:.0f}", f"{peaks[name]:.0f}"])
    paths = sorted(scans.rglob("*.nii*"))
    shape = " x ".join(map(str, nibabel.load(paths[0]).shape))
    kind = "" if sizes.scans else " made up"
    caption = (
        f"{len(paths)} scans{kind}, the first {shape}, patches of "
        f"{' x '.join(map(str, sizes.size))}, one thread, memory above the start"
    )
    return Block.of(caption, ["", "patches/s", "range", "MiB"], rows, samples, "patches/s")


def contenders(scans: Path, folder: Path, size: tuple[int, ...]) -> dict[str, Make]:
    """Return what makes the patches of each contender that is installed."""
    ram = CTConfig(root=str(scans), store=None, cache_gib=64)
    raw = CTConfig(root=str(scans), store=None, cache_gib=0)
    stores = {
        codec: CTConfig(root=str(scans), store=str(folder / codec), codec=codec)
        for codec in ("none", *(name for name in CODECS if name != "none"))
    }
    ours = bench_loader.from_vae3d
    makers: dict[str, Make] = {"vae3d, RAM, cut": partial(ours, ram, size)}
    for codec, config in stores.items():
        makers[f"vae3d, store, {codec}, cut"] = partial(ours, config, size)
    makers["vae3d, RAM, finished"] = partial(ours, ram, size, finished=True)
    for codec in ("none", "lz4"):
        name = f"vae3d, store, {codec}, finished"
        makers[name] = partial(ours, stores[codec], size, finished=True)
    makers["vae3d, raw files, 8 a scan, cut"] = partial(ours, raw, size)
    peers = {
        "torchio": ("TorchIO Queue", bench_loader.from_torchio),
        "monai": ("MONAI RandSpatialCropSamples", bench_loader.from_monai),
    }
    for package, (title, make) in peers.items():
        if version(package) is not None:
            for per_scan in (8, 1):
                makers[f"{title}, {per_scan} a scan"] = partial(make, scans, size, per_scan)
    makers["nibabel, a box of `dataobj`"] = partial(bench_loader.from_nibabel, scans, size)
    return makers
