"""`vae3d encode`, `decode` and `reconstruct` of whole volumes: seconds and the process's peak.

Made-up scans of 512 x 512 planes, as int16 NIfTI. Each command is a process of its own, with
reading and writing. MiB is the peak of its resident memory, Python and the libraries included.
"""

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from benchmarks.processes import fresh
from benchmarks.result import Block
from benchmarks.timing import Measure, alternate
from vae3d.phantoms.chest import phantom

TITLE = "Commands on whole volumes"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """The model, planes of a side by number, the memory of the network in GiB, and how often."""

    model: str = "small"
    planes: tuple[int, ...] = (128, 512)
    side: int = 512
    memory: float = 0.4
    rounds: int = 3
    seconds: float = 1800.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(planes=(32,), side=128, memory=0.1, rounds=1),
    "miniature": Sizes(model="tiny", planes=(16,), side=16, memory=0.1, rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Train a step, and run the commands on a scan of each depth."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = trained(folder, sizes)
        calls: dict[str, Measure] = {}
        peaks: dict[str, float] = {}
        for planes in sizes.planes:
            shape = (planes, sizes.side, sizes.side)
            for command, words in commands(run, folder / str(planes), shape, sizes).items():
                title = f"`vae3d {command}`, {planes} planes"
                calls[title] = partial(seconds, title, words, folder, peaks)
        samples = alternate(calls, sizes.rounds, sizes.seconds, warm_up=False)
    rows = [
        [title, samples.spread(title).shown(1), f"{peaks[title]:.0f}"] for title in sorted(calls)
    ]
    caption = f"`model={sizes.model}`, `memory={sizes.memory:g}`, planes of {sizes.side}^2"
    return [Block.of(caption, ["", "seconds", "MiB"], rows, samples)]


def trained(folder: Path, sizes: Sizes) -> Path:
    """Return a run of one step."""
    cost(
        *("train", f"model={sizes.model}", "trainer.steps=1", "trainer.batch_size=1"),
        *("data.count=4", "data.shape=[32,32,32]", "data.workers=0", "patching.size=[16]"),
        *("evaluation=scores", f"runs_dir={folder}"),
    )
    return folder / "vae3d"


def commands(
    run: Path, folder: Path, shape: tuple[int, ...], sizes: Sizes
) -> dict[str, tuple[str, ...]]:
    """Make a scan and its latent in a folder; return the words of each command, but its output."""
    folder.mkdir()
    voxels = phantom(shape, 0, 0).round().astype(np.int16)
    scan, latents = folder / "scan.nii.gz", folder / "latents"
    nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), scan)
    shared = (f"run={run}", f"memory={sizes.memory}")
    encode = ("encode", *shared, "data=ct", f"data.root={folder}", "data.store=null")
    cost(*encode, f"output={latents}")
    return {
        "encode": encode,
        "decode": ("decode", *shared, f"input={latents}"),
        "reconstruct": ("reconstruct", *shared, f"input={scan}"),
    }


def seconds(title: str, words: tuple[str, ...], folder: Path, peaks: dict[str, float]) -> float:
    """Return the seconds of a command that writes into a new folder, and note its peak."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        measured = cost(*words, f"output={output}/results")
    peaks[title] = max(peaks.get(title, 0.0), measured["mib"])
    return measured["seconds"]


def cost(*words: str) -> dict[str, float]:
    """Return seconds and peak of a command."""
    measured: dict[str, float] = fresh("benchmarks.command_cost", *words)
    return measured
