"""Resident memory after 4000 patches, with few cases in the store and with many."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import fresh
from benchmarks.result import Block
from benchmarks.tables import loader
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig
from vae3d.logger.console import ProgressBar

TITLE = "Memory with the number of cases"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """The scans as in the table `loader`, repeated by links, and the numbers of cases."""

    scans: str = ""
    made_up: int = 12
    shape: tuple[int, ...] = (160, 256, 256)
    counts: tuple[int, ...] = (10, 1000)


SIZES = {
    "full": Sizes(shape=(64, 128, 128)),
    "quick": Sizes(made_up=2, shape=(64, 64, 64), counts=(10, 200)),
    "miniature": Sizes(made_up=1, shape=(64, 64, 64), counts=()),
}


def measure(sizes: Sizes) -> list[Block]:
    """Measure a process for each number of cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wanted = loader.Sizes(made_up=sizes.made_up, shape=sizes.shape)
        given = Path(sizes.scans) if sizes.scans else loader.make_scans(folder / "scans", wanted)
        paths = sorted(given.rglob("*.nii*"))
        resident = {count: reading(paths, count, folder) for count in sizes.counts}
    rows = [[str(count), f"{value:.0f}"] for count, value in resident.items()]
    samples = {f"{count} cases": [value] for count, value in resident.items()}
    caption = "Resident memory of a process after 4000 random patches of 64^3."
    return [Block(caption, ["cases", "MiB"], rows, samples, "MiB")]


def reading(paths: list[Path], count: int, folder: Path) -> float:
    """Return the resident MiB of a process that reads from `count` cases."""
    root, store = folder / f"{count}", folder / f"store{count}"
    root.mkdir()
    for number in range(count):
        link = root / f"c{number:05d}.nii.gz"
        link.symlink_to(paths[number % len(paths)].resolve())
    open_cases(CTConfig(root=str(root), store=str(store)), ProgressBar("", shown=False))
    return float(fresh("bench_loader", "--rss", str(store)))
