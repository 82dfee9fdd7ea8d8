"""Training steps and reconstructions of vae3d and its peers at matched channels and blocks.

All take part in one process on the same synthetic images: Adam, L1 and a KL of 1e-6. bf16 takes
part where the device computes in it. vae3d has the peer's channels, blocks, activation and factor
of 4, once at the peer's resolutions and once as its presets are built: blocks of 2 voxels folded
into channels, the last downsampling left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.machine import version
from benchmarks.networks import MATCHES
from benchmarks.rates import flops, matrix_product
from benchmarks.result import Block
from benchmarks.timing import Samples, alternate, timed
from peers import DTYPES, Network
from vae3d.autoencoder.vae import CustomVAE
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.precision import has_bf16

TITLE = "Model"
PEERS = ("vae3d2d", "monai")
KINDS = ("training", "reconstruction")
MATRIX = "matrix product"


@dataclass(frozen=True)
class Sizes:
    """Batches of images of a side, the side of the matrix product, and how often."""

    batches: tuple[int, ...] = (1, 4)
    side: int = 32
    matrix: int = 2048
    rounds: int = 9
    seconds: float = 600.0
    device: str = "auto"


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rounds=3, seconds=6.0),
    "miniature": Sizes(batches=(1,), side=16, matrix=64, rounds=2),
}


def measure(sizes: Sizes) -> list[Block]:
    """Return a block for each installed peer and batch; vae3d alone where there is none."""
    device = choose_device(sizes.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    installed = [peer for peer in PEERS if version(peer) is not None]
    blocks = []
    for peer in installed or ["monai"]:
        for batch in sizes.batches:
            blocks.append(compare(peer, peer in installed, batch, device, sizes))
    return blocks


def compare(peer: str, installed: bool, batch: int, device: torch.device, sizes: Sizes) -> Block:
    """Measure all contenders of a peer at a batch."""
    images = torch.rand(batch, 1, *(sizes.side,) * 3, device=device) * 2 - 1
    contenders = build(peer, installed, device)
    calls = calls_of(contenders, images)
    memory = {}
    for name, call in calls.items():
        call()
        memory[name] = (peak_memory(call, device) or 0) / 2**20
    precisions = dict.fromkeys(contender.precision for contender in contenders)
    products = {
        f"{MATRIX}, {precision}": matrix_product(sizes.matrix, device, DTYPES[precision])
        for precision in precisions
    }
    samples = alternate(
        {name: timed(call, device) for name, call in {**products, **calls}.items()},
        sizes.rounds,
        sizes.seconds,
    )
    # Counted on one image, which takes less time.
    work = {name: batch * flops(call) for name, call in calls_of(contenders, images[:1]).items()}
    rows = []
    for contender in contenders:
        row = [contender.title]
        for kind in KINDS:
            name, last = (f"{kind}, {title}" for title in (contender.title, contenders[-1].title))
            times = samples.ratio(last, name).shown()
            product = f"{MATRIX}, {contender.precision}"
            share = work[name] / (2 * sizes.matrix**3) * samples.ratio(product, name).median
            rate = images.numel() / samples.spread(name).median / 1e6
            row += [f"{rate:.3f}", times, f"{memory[name]:.0f}", f"{share:.0%}"]
        rows.append(row)
    against = peer if installed else "the last row, no peer being installed"
    caption = (
        f"Batch {batch} of {sizes.side}^3 against {against} (float32), {device.type}, "
        f"{torch.get_num_threads()} threads, {speeds(samples, sizes)}"
    )
    heads = [f"{kind}: Mvoxel/s | times the peer | MiB | share" for kind in KINDS]
    return Block.of(caption, ["", *" | ".join(heads).split(" | ")], rows, samples)


def build(peer: str, installed: bool, device: torch.device) -> list[Network]:
    """Return the contenders in the precisions that the device has, the peer being the last."""
    contenders = []
    for make, precision in MATCHES[peer] if installed else MATCHES[peer][:-2]:
        if precision == "fp32" or has_bf16(device):
            torch.manual_seed(0)
            contender = make(precision)
            model = contender.model
            model.to_device(device) if isinstance(model, CustomVAE) else model.to(device)
            contenders.append(contender)
    return contenders


def calls_of(contenders: list[Network], images: Tensor) -> dict[str, Callable[[], None]]:
    """Return a training step and a reconstruction of each contender."""
    calls: dict[str, Callable[[], None]] = {}
    for contender in contenders:
        calls[f"training, {contender.title}"] = trainer(contender, images)
        calls[f"reconstruction, {contender.title}"] = partial(reconstruct, contender, images)
    return calls


def speeds(samples: Samples, sizes: Sizes) -> str:
    """Return the speed of the matrix products."""
    work = 2 * sizes.matrix**3 / 1e9
    found = [
        f"{name} {work / samples.spread(name).median:,.0f} GFLOP/s"
        for name in samples.values
        if name.startswith(MATRIX)
    ]
    return ", ".join(found)


def trainer(contender: Network, images: Tensor) -> Callable[[], None]:
    """Return one step of Adam."""
    optimizer = torch.optim.Adam(contender.model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        contender.model.train()
        with contender.autocast(images.device):
            reconstruction, kl = contender.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def reconstruct(contender: Network, images: Tensor) -> None:
    """Reconstruct images without gradients."""
    contender.model.eval()
    with torch.no_grad(), contender.autocast(images.device):
        contender.reconstruct(images)
