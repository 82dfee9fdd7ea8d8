"""The rate of a training step and of a reconstruction, as a share of that of a matrix product.

The product of two float32 matrices is computed on the same threads, alternating with the steps.
Operations are counted by torch: a multiplication with its addition as two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.rates import flops, matrix_product
from benchmarks.result import Block
from benchmarks.timing import Samples, alternate, timed
from benchmarks.training import Job, training_step
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed

TITLE = "Rate of a training step"
PEERS = ()
MATRIX = "matrix product"


@dataclass(frozen=True)
class Sizes:
    """Models, the batch of patches, the side of the matrices, and how often."""

    models: tuple[str, ...] = ("small", "base")
    batch: int = 4
    side: int = 32
    matrix: int = 2048
    rounds: int = 9
    seconds: float = 300.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(models=("small",), rounds=5, seconds=6.0),
    "miniature": Sizes(models=("tiny",), batch=1, side=16, matrix=64, rounds=2),
}


def measure(sizes: Sizes) -> list[Block]:
    """Time steps, reconstructions and the product."""
    calls: dict[str, Callable[[], object]] = {
        MATRIX: matrix_product(sizes.matrix, torch.device("cpu"))
    }
    work: dict[str, int] = {MATRIX: 2 * sizes.matrix**3}
    for name in sizes.models:
        settings = {"precision": "fp32", "device": "cpu"}
        step, reconstruct = f"`{name}`, training step", f"`{name}`, reconstruction"
        calls[step] = training_step(Job(name, sizes.batch, sizes.side, settings))
        model, images = network(name, sizes)
        calls[reconstruct] = partial(reconstruction, model, images)
        # Counted on one image, which takes less time, and in this thread: portions have their own.
        work[reconstruct] = sizes.batch * flops(partial(reconstruction, model, images[:1]))
        work[step] = sizes.batch * flops(partial(plain_step, model, images[:1]))
    samples = alternate(
        {name: timed(call) for name, call in calls.items()}, sizes.rounds, sizes.seconds
    )
    rows = [row(name, work, samples) for name in calls]
    caption = (
        f"Batch {sizes.batch} of {sizes.side}^3, float32, product of {sizes.matrix}^2, "
        f"{torch.get_num_threads()} threads"
    )
    heads = ["", "GFLOP", "ms", "GFLOP/s", "share of the product's rate"]
    return [Block.of(caption, heads, rows, samples)]


def row(name: str, work: dict[str, int], samples: Samples) -> list[str]:
    """Return operations, time, rate, and the rate's share of the product's."""
    seconds = samples.spread(name).median
    share = samples.ratio(MATRIX, name)
    scale = work[name] / work[MATRIX]
    shown = f"{share.median * scale:.0%} ({share.low * scale:.0%} to {share.high * scale:.0%})"
    rate = work[name] / seconds / 1e9
    return [name, f"{work[name] / 1e9:.2f}", f"{seconds * 1000:.1f}", f"{rate:.0f}", shown]


def network(name: str, sizes: Sizes) -> tuple[CustomVAE, torch.Tensor]:
    """Return a model and its images (B, 1, D, H, W)."""
    torch.manual_seed(0)
    model = CustomVAE(composed("train", f"model={name}").model).to_device(torch.device("cpu"))
    return model, torch.rand(sizes.batch, 1, *(sizes.side,) * 3) * 2 - 1


def plain_step(model: CustomVAE, images: torch.Tensor) -> None:
    """Compute the gradients of the reconstruction error, undivided."""
    reconstruction = model.train()(images, torch.Generator()).reconstruction
    torch.autograd.backward((reconstruction - images).abs().mean())
    model.zero_grad(set_to_none=True)


def reconstruction(model: CustomVAE, images: torch.Tensor) -> None:
    """Reconstruct the images without gradients."""
    model.eval()
    with torch.no_grad():
        model(images)
