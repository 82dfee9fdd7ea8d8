"""Random patches a second and peak memory: vae3d's store, RAM and raw files against its peers.

    pip install -e '.[bench]'
    python scripts/bench_loader.py --scans /scans               # NIfTI files of yours
    python scripts/bench_loader.py --made-up 12                 # or 256 x 256 x 160 phantoms
    python scripts/bench_loader.py --scans /scans --flat        # memory with 10 and 1000 cases
    python scripts/bench_loader.py --scans /scans --overlap     # training steps with the loader

All contenders cut from the same files, in one process on one thread, in turns; the table holds the
median of the rounds. What is cut has the scan's own units; "finished" are whole training items,
scaled to [-1, 1]. vae3d takes its patches in a random order over all scans, TorchIO and MONAI so
many of a volume before the next. The files lie in the page cache: decoding is measured, no disk.
"""

import argparse
import ctypes
import logging
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import blosc2
import nibabel
import numpy as np
import torch

from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CTConfig
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.samplers import RandomPatches
from vae3d.phantoms.chest import phantom
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.messages import show_messages
from vae3d.runtime.shuffle import Shuffle

log = logging.getLogger("vae3d.bench_loader")

PER_VOLUME = 8
WINDOW = (-1000.0, 1000.0)
Patches = Iterator[torch.Tensor]


def main() -> int:
    """Prints the table that was asked for, as Markdown."""
    show_messages()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=Path)
    parser.add_argument(
        "--made-up", type=int, default=12, help="how many, where no scans are given"
    )
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 256, 256])
    parser.add_argument("--size", type=int, nargs="+", default=[64])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--rss", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    blosc2.set_nthreads(1)
    if arguments.rss:
        sys.stdout.write(f"{resident_after_reading(arguments.rss)}\n")
        return 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        scans = arguments.scans or make_scans(folder / "scans", arguments)
        if arguments.flat:
            flat_memory(scans, folder)
        elif arguments.overlap:
            overlap(scans, folder, arguments)
        else:
            compare(scans, folder, arguments)
    return 0


def make_scans(folder: Path, arguments: argparse.Namespace) -> Path:
    """Phantoms as int16 .nii.gz, like chest CTs cropped to the body."""
    folder.mkdir(parents=True)
    for index in range(arguments.made_up):
        voxels = phantom(tuple(arguments.shape), 0, index).astype(np.int16).transpose(2, 1, 0)
        image = nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1.0]))
        nibabel.save(image, folder / f"scan{index:04d}.nii.gz")
        log.info(f"made {index + 1}/{arguments.made_up}")
    return folder


def compare(scans: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """All contenders in turns."""
    size = tuple(arguments.size * (3 if len(arguments.size) == 1 else 1))
    ram = CTConfig(root=str(scans), store=None, cache_gib=64)
    raw = CTConfig(root=str(scans), store=None, cache_gib=0)
    stores = {
        codec: CTConfig(root=str(scans), store=str(folder / codec), codec=codec)
        for codec in ("none", "lz4", "lz4_fast", "zstd")
    }
    contenders: dict[str, Callable[[], Patches]] = {
        "vae3d, RAM": partial(from_vae3d, ram, size),
        "vae3d, store, none": partial(from_vae3d, stores["none"], size),
        "vae3d, store, lz4": partial(from_vae3d, stores["lz4"], size),
        "vae3d, store, lz4_fast": partial(from_vae3d, stores["lz4_fast"], size),
        "vae3d, store, zstd": partial(from_vae3d, stores["zstd"], size),
        "vae3d, RAM, finished": partial(from_vae3d, ram, size, finished=True),
        "vae3d, store, none, finished": partial(from_vae3d, stores["none"], size, finished=True),
        "vae3d, store, lz4, finished": partial(from_vae3d, stores["lz4"], size, finished=True),
        "vae3d, raw files, 8 a volume": partial(from_vae3d, raw, size),
        "TorchIO Queue, 8 a volume": partial(from_torchio, scans, size, 8),
        "TorchIO Queue, 1 a volume": partial(from_torchio, scans, size, 1),
        "MONAI RandSpatialCropSamples, 8 a volume": partial(from_monai, scans, size, 8),
        "MONAI RandSpatialCropSamples, 1 a volume": partial(from_monai, scans, size, 1),
        "nibabel dataobj": partial(from_nibabel, scans, size),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = dict.fromkeys(contenders, 0.0)
    for _ in range(arguments.rounds):
        for name, make in contenders.items():
            patches = make()
            next(patches)
            rate, peak = measured(patches, arguments.seconds, size)
            rates[name].append(rate)
            peaks[name] = max(peaks[name], peak)
            del patches
    rows = [
        f"| {name} | {statistics.median(found):.0f} | {min(found):.0f} to {max(found):.0f} | "
        f"{peaks[name]:.0f} |"
        for name, found in rates.items()
    ]
    paths = sorted(scans.rglob("*.nii*"))
    shape = "x".join(map(str, nibabel.load(paths[0]).shape))
    head = "| | patches/s | range | peak memory above start, MiB |"
    log.info(f"{len(paths)} scans, the first {shape}; patches of {'x'.join(map(str, size))}")
    sys.stdout.write("\n".join([head, "|---|---|---|---|", *rows]) + "\n")


def measured(patches: Patches, seconds: float, size: tuple[int, ...]) -> tuple[float, float]:
    """Patches a second, and MiB above the memory at the start, at its peak."""
    give_memory_back()
    # Linux: forgets the highest resident size so far.
    Path("/proc/self/clear_refs").write_text("5")
    before, start, count = memory("VmRSS"), time.perf_counter(), 0
    # At least one patch, also where the clock has passed `seconds` before it.
    while (spent := time.perf_counter() - start) < seconds or not count:
        assert next(patches).numel() == math.prod(size)
        count += 1
    return count / spent, memory("VmHWM") - before


def memory(key: str) -> float:
    """MiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))


def give_memory_back() -> None:
    """What Python freed is still the process's until the C library gives it back."""
    ctypes.CDLL(None).malloc_trim(0)


def dataset_of(cases: Cases, size: tuple[int, ...]) -> PatchDataset:
    """Uniform random patches of every case."""
    cases.config.val_fraction = cases.config.test_fraction = 0.0
    sampler = RandomPatches(size=size, per_volume=PER_VOLUME, foreground=0.0)
    return PatchDataset(cases, cases.survey("train"), sampler, seed=0)


def from_vae3d(config: CTConfig, size: tuple[int, ...], finished: bool = False) -> Patches:
    """What is cut, or whole items as training gets them: float32 in [-1, 1], padded."""
    cases = open_cases(config, ProgressBar("prepare"))
    dataset = dataset_of(cases, size)
    raw = config.store is None and config.cache_gib == 0
    for epoch in range(10**9):
        # Without a store a shuffled order would decode a volume for each patch.
        order = np.arange(len(dataset))
        order = order if raw else Shuffle(len(dataset), 0, "order", epoch)(order)
        for index in order.tolist():
            draw = Draw(epoch, index, 1.0)
            if finished:
                yield dataset[draw].image
            else:
                yield cases[dataset.case_of(draw)[0]].cut(dataset.region(draw))


def from_torchio(scans: Path, size: tuple[int, ...], per_volume: int) -> Patches:
    """`Queue` with a `UniformSampler`, as its documentation shows it; nothing is scaled."""
    import torchio

    subjects = [
        torchio.Subject(image=torchio.ScalarImage(path)) for path in sorted(scans.rglob("*.nii*"))
    ]
    sampler = torchio.UniformSampler(size[::-1])
    for _ in range(10**9):
        queue = torchio.Queue(
            torchio.SubjectsDataset(subjects),
            max_length=per_volume * 4,
            samples_per_volume=per_volume,
            sampler=sampler,
        )
        for index in range(len(queue)):
            yield queue[index]["image"].data


def from_monai(scans: Path, size: tuple[int, ...], per_volume: int) -> Patches:
    """`LoadImage` and `RandSpatialCropSamples`; nothing is scaled."""
    from monai import transforms

    chain = transforms.Compose(
        [
            transforms.LoadImage(image_only=True, ensure_channel_first=True),
            transforms.RandSpatialCropSamples(size[::-1], per_volume, random_size=False),
        ]
    )
    paths = sorted(scans.rglob("*.nii*"))
    for _ in range(10**9):
        for path in paths:
            yield from chain(path)


def from_nibabel(scans: Path, size: tuple[int, ...]) -> Patches:
    """A box of `dataobj`, which inflates the file up to it; nothing is scaled."""
    rng = np.random.default_rng(0)
    paths = sorted(scans.rglob("*.nii*"))
    for number in range(10**9):
        image = nibabel.load(paths[number % len(paths)])
        corner = [
            int(rng.integers(n - s + 1)) for n, s in zip(image.shape, size[::-1], strict=True)
        ]
        box = tuple(slice(c, c + s) for c, s in zip(corner, size[::-1], strict=True))
        yield torch.from_numpy(np.asarray(image.dataobj[box], np.float32))[None]


def flat_memory(scans: Path, folder: Path) -> None:
    """The resident memory of a process that reads from 10 and from 1000 cases."""
    paths = sorted(scans.rglob("*.nii*"))
    sys.stdout.write("| cases | resident after 4000 patches, MiB |\n|---|---|\n")
    for count in (10, 1000):
        root = folder / f"{count}"
        root.mkdir()
        for number in range(count):
            target = root / f"c{number:05d}.nii.gz"
            target.symlink_to(paths[number % len(paths)].resolve())
        store = folder / f"store{count}"
        open_cases(CTConfig(root=str(root), store=str(store)), ProgressBar("prepare"))
        command = [sys.executable, __file__, "--rss", str(store)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sys.stdout.write(f"| {count} | {float(found):.1f} |\n")


def resident_after_reading(store: Path) -> float:
    """Private memory and what is mapped of the store."""
    from vae3d.data.config import StoreConfig

    cases = open_cases(StoreConfig(root=str(store)), ProgressBar("", shown=False))
    dataset = dataset_of(cases, (64, 64, 64))
    order = Shuffle(max(len(dataset), 4000), 0, "order")(np.arange(4000)) % len(dataset)
    for index in order.tolist():
        dataset[Draw(0, index, 1.0)]
    give_memory_back()
    return memory("VmRSS")


def overlap(scans: Path, folder: Path, arguments: argparse.Namespace) -> None:
    """Steps on patches from the loader against steps on one fixed batch, in turns."""
    torch.set_num_threads(os.cpu_count() or 1)
    size = tuple(arguments.size * (3 if len(arguments.size) == 1 else 1))
    levels = [LevelSpec(16), LevelSpec(32, stride=(2,)), LevelSpec(64, stride=(2,))]
    model = CustomVAE(VAEConfig(spatial_dims=3, levels=levels))
    optimizer = torch.optim.AdamW(model.parameters())
    dataset = dataset_of(
        open_cases(CTConfig(root=str(scans), store=str(folder / "s")), ProgressBar("prepare")),
        size,
    )
    loader = PatchLoader(dataset, 2, 1, Distributed(), workers=1)
    steps = loader.steps(0, 10**6)

    def step(images: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = (model(images).reconstruction - images).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def loaded() -> torch.Tensor:
        (batch,) = next(next(steps))
        return batch.images

    fixed = loaded()
    step(fixed)
    ratios, times = [], []
    for number in range(arguments.rounds * 10):
        spent: dict[str, float] = {}
        for kind in ("fixed", "loaded") if number % 2 else ("loaded", "fixed"):
            start = time.perf_counter()
            step(fixed if kind == "fixed" else loaded())
            spent[kind] = time.perf_counter() - start
        ratios.append(spent["loaded"] / spent["fixed"])
        times.append(spent["fixed"])
    sys.stdout.write(
        f"step on a fixed batch {statistics.median(times) * 1e3:.0f} ms; with the loader "
        f"{statistics.median(ratios):.3f} times that (median of {len(ratios)} pairs)\n"
    )


if __name__ == "__main__":
    sys.exit(main())
