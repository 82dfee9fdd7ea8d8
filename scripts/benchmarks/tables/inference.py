"""Patch-wise reconstruction of a volume against its bare forwards, and against MONAI's inferer.

The same network, patches, overlap and batch for all. `bare forwards` are the batches alone, cut
beforehand, their results discarded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.machine import version
from benchmarks.result import Block
from benchmarks.timing import alternate, timed
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.patching.samplers import GridPatches
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.precision import Precision

TITLE = "Inference"
PEERS = ("monai",)
BARE = "bare forwards"


@dataclass(frozen=True)
class Sizes:
    """Models, the shape of the volume, how it is cut, and how often."""

    models: tuple[str, ...] = ("tiny", "small")
    shape: tuple[int, ...] = (192, 192, 192)
    size: int = 64
    overlap: float = 0.25
    batch: int = 4
    precision: str = "fp32"
    rounds: int = 7
    seconds: float = 600.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(shape=(64, 112, 112), rounds=3, seconds=4.0),
    "miniature": Sizes(models=("tiny",), shape=(16, 16, 24), size=16, rounds=2),
}


def measure(sizes: Sizes) -> list[Block]:
    """Return a block for each model."""
    return [compare(model, sizes) for model in sizes.models]


@dataclass(frozen=True)
class Subject:
    """The network, the volume (1, D, H, W), and where and how they are computed with."""

    model: CustomVAE
    image: Tensor
    precision: Precision
    device: torch.device
    sizes: Sizes


def compare(name: str, sizes: Sizes) -> Block:
    """Measure bare forwards, vae3d and MONAI with one model."""
    device = choose_device("auto")
    torch.manual_seed(0)
    model = CustomVAE(composed("train", f"model={name}").model).to_device(device).eval()
    image = torch.rand(1, *sizes.shape) * 2 - 1
    subject = Subject(model, image, Precision(sizes.precision, device), device, sizes)
    batches = cut(subject)
    calls: dict[str, Callable[[], object]] = {BARE: partial(bare, subject, batches)}
    for blend in ("hann", "uniform"):
        config = InferenceConfig((sizes.size,), sizes.overlap, blend, sizes.batch)
        runner = build_runner(config, "patch", model, device, subject.precision)
        calls[f"vae3d, {blend}"] = partial(runner.reconstruct, image)
    if version("monai") is not None:
        for mode in ("gaussian", "constant"):
            calls[f"MONAI SlidingWindowInferer, {mode}"] = monai(subject, mode)
    memory = {}
    for title, call in calls.items():
        call()
        memory[title] = (peak_memory(partial(forget, call), device) or 0) / 2**20
    samples = alternate(
        {title: timed(call, device) for title, call in calls.items()}, sizes.rounds, sizes.seconds
    )
    rows = [
        [
            title,
            f"{samples.spread(title).median:.2f}",
            samples.ratio(title, BARE).shown(),
            f"{memory[title]:.0f}",
        ]
        for title in calls
    ]
    count = sum(len(batch) for batch in batches)
    caption = (
        f"`model={name}`, {'x'.join(map(str, sizes.shape))}, {count} patches of {sizes.size}, "
        f"overlap {sizes.overlap:g}, batch {sizes.batch}, {sizes.precision}, {device.type}, "
        f"{torch.get_num_threads()} threads"
    )
    return Block.of(caption, ["", "seconds", "times the bare forwards", "MiB"], rows, samples)


def cut(subject: Subject) -> list[Tensor]:
    """Return the batches of patches (B, 1, size, size, size) of the volume."""
    sizes = subject.sizes
    grid = GridPatches((sizes.size,) * 3, sizes.overlap)
    regions = grid.regions(tuple(subject.image.shape[1:]), subject.model.factor)
    starts = range(0, len(regions), sizes.batch)
    groups = [regions[start : start + sizes.batch] for start in starts]
    return [torch.stack([region.cut(subject.image) for region in group]) for group in groups]


@torch.inference_mode()
def bare(subject: Subject, batches: list[Tensor]) -> None:
    """Send all batches through the network, and discard the results."""
    for batch in batches:
        with subject.precision.autocast(subject.device):
            images = batch.to(subject.device)
            subject.model.decode(subject.model.encode(images).mode()).cpu()


def monai(subject: Subject, mode: str) -> Callable[[], object]:
    """Return MONAI's inferer around the same network, stitching on the CPU as vae3d does."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=(subject.sizes.size,) * 3,
        sw_batch_size=subject.sizes.batch,
        overlap=subject.sizes.overlap,
        mode=mode,
        sw_device=subject.device,
        device=torch.device("cpu"),
        progress=False,
    )
    model = subject.model

    @torch.inference_mode()
    def call() -> None:
        with subject.precision.autocast(subject.device):
            inferer(subject.image[None], lambda x: model.decode(model.encode(x).mode()))

    return call


def forget(call: Callable[[], object]) -> None:
    """Call, and discard the result."""
    call()
