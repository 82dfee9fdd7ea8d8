"""What verifying a store costs its loader: epochs that verify, and epochs that do not.

Each round opens each store twice and draws the patches of one epoch in a random order: once as it
is, once with all arrays known to be whole. The files are in the page cache, so that the ratio is
the worst there is: a disk makes both slower. `format 1` are arrays of earlier versions, which have
no checksums of their own and are verified as a whole when they are first opened.
"""

import argparse
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import blosc2
import torch

import bench_verification
from benchmarks.result import Block
from benchmarks.timing import Samples, alternate
from vae3d.data.build import open_cases
from vae3d.data.config import SyntheticConfig
from vae3d.logger.console import ProgressBar

TITLE = "Verifying while loading"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """Phantoms of a shape, the patch, the codecs, and how often."""

    made_up: int = 8
    shape: tuple[int, ...] = (160, 256, 256)
    size: int = 64
    per_volume: int = 8
    codecs: tuple[str, ...] = ("lz4", "none")
    rounds: int = 7
    seconds: float = 300.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(made_up=2, shape=(96, 128, 128), rounds=3, seconds=3.0),
    "miniature": Sizes(2, (16, 16, 16), size=8, codecs=("lz4",), rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Time epochs of a store by codec and format."""
    threads, codec_threads = torch.get_num_threads(), blosc2.set_nthreads(1)
    torch.set_num_threads(1)
    found: dict[str, Samples] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for codec in sizes.codecs:
                store = Path(folder, codec)
                data = SyntheticConfig(
                    count=sizes.made_up, shape=sizes.shape, store=str(store), codec=codec
                )
                open_cases(data, ProgressBar("", shown=False))
                found[f"{codec}, format 2"] = epochs(store, sizes)
                bench_verification.as_format_1(store)
                found[f"{codec}, format 1"] = epochs(store, sizes)
    finally:
        torch.set_num_threads(threads)
        blosc2.set_nthreads(codec_threads)
    rows = [
        [
            name,
            f"{samples.spread('unverified').median:.0f}",
            f"{samples.spread('verified').median:.0f}",
            samples.ratio("verified", "unverified").shown(),
        ]
        for name, samples in found.items()
    ]
    caption = (
        f"{sizes.made_up} phantoms of {'x'.join(map(str, sizes.shape))}, patches of {sizes.size}, "
        f"{sizes.per_volume} of each, one thread, "
        f"{min(samples.rounds for samples in found.values())} rounds."
    )
    heads = ["store", "patches/s unverified", "patches/s, first epoch", "ratio"]
    values = {name: samples.values["verified"] for name, samples in found.items()}
    return [Block(caption, heads, rows, values, "patches/s")]


def epochs(store: Path, sizes: Sizes) -> Samples:
    """Return the patches a second of epochs that verify and of epochs that do not."""
    arguments = argparse.Namespace(size=sizes.size, per_volume=sizes.per_volume)
    epoch = bench_verification.epoch
    return alternate(
        {
            "verified": partial(epoch, store, arguments, True),
            "unverified": partial(epoch, store, arguments, False),
        },
        sizes.rounds,
        sizes.seconds,
    )
