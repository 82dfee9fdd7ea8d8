"""Training steps on patches from the loader against steps on one fixed batch.

The loader has one worker process and reads a store of made-up CTs.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench_loader import dataset_of
from benchmarks.result import Block
from benchmarks.tables import loader
from benchmarks.timing import alternate, timed
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig
from vae3d.loading.loader import MicroBatch, PatchLoader
from vae3d.logger.console import ProgressBar
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.precision import has_bf16

TITLE = "Training with the loader"
PEERS = ()


@dataclass(frozen=True)
class Sizes:
    """The scans as in the table `loader`, the patch, the batch, and how often."""

    scans: str = ""
    made_up: int = 12
    shape: tuple[int, ...] = (160, 256, 256)
    size: tuple[int, ...] = (32, 64, 64)
    batch: int = 2
    workers: int = 1
    rounds: int = 30
    seconds: float = 300.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(made_up=2, shape=(96, 128, 128), rounds=8, seconds=8.0),
    "miniature": Sizes("", 2, (8, 24, 24), (8, 8, 8), batch=1, workers=0, rounds=2),
}


def measure(sizes: Sizes) -> list[Block]:
    """Time steps with and without the loader."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scans = Path(sizes.scans) if sizes.scans else make_scans(folder, sizes)
        data = CTConfig(root=str(scans), store=str(folder / "store"))
        dataset = dataset_of(open_cases(data, ProgressBar("", shown=False)), sizes.size)
        batches = PatchLoader(dataset, sizes.batch, 1, Distributed(), workers=sizes.workers)
        return [compare(batches.steps(0, 10**6), sizes)]


def make_scans(folder: Path, sizes: Sizes) -> Path:
    """Write the scans of the table `loader`."""
    wanted = loader.Sizes(made_up=sizes.made_up, shape=sizes.shape)
    return loader.make_scans(folder / "scans", wanted)


def compare(steps: Iterator[Iterator[MicroBatch]], sizes: Sizes) -> Block:
    """Time steps on a batch that stays and on batches of the loader."""
    levels = [LevelSpec(16), LevelSpec(32, stride=(2,)), LevelSpec(64, stride=(2,))]
    model = CustomVAE(VAEConfig(spatial_dims=3, levels=levels))
    optimizer = torch.optim.AdamW(model.parameters())
    bf16 = has_bf16(torch.device("cpu"))

    def step(images: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = (model(images).reconstruction - images).abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()

    def loaded() -> Tensor:
        (batch,) = next(next(steps))
        images: Tensor = batch.images
        return images

    calls: dict[str, Callable[[], object]] = {
        "a fixed batch": partial(step, loaded()),
        "batches of the loader": lambda: step(loaded()),
    }
    samples = alternate(
        {name: timed(call) for name, call in calls.items()}, sizes.rounds, sizes.seconds
    )
    rows = [
        [
            name,
            f"{samples.spread(name).median * 1000:.0f}",
            samples.ratio(name, "a fixed batch").shown(3),
        ]
        for name in calls
    ]
    caption = (
        f"Steps on {sizes.batch} patches of {' x '.join(map(str, sizes.size))}, "
        f"{'bf16' if bf16 else 'fp32'}, {sizes.workers} worker"
    )
    return Block.of(caption, ["", "ms", "times a fixed batch"], rows, samples)
