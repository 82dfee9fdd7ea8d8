"""The parts `train`, `inference` and `peers`: voxels a second, memory, share of the peak."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import torch

from gpu.contenders import Contender, matches, ours, preset
from gpu.results import Row, Task
from gpu.timing import (
    Call,
    images_of,
    medians,
    memory_of,
    peak_of_convolutions,
    peak_of_products,
    reconstruction,
    training_step,
)
from vae3d.autoencoder.summary import summarise
from vae3d.layers.norms import group_norm, layer_norm, rms_norm
from vae3d.runtime.kernels import fast_kernels
from vae3d.runtime.precision import Precision, has_bf16

NORMS = {"layer": layer_norm, "rms": rms_norm, "group": group_norm}


@dataclass(frozen=True)
class Scale:
    """What is measured: all of it on a GPU, little of it in a rehearsal on a CPU."""

    device: torch.device
    tiny: bool

    @property
    def models(self) -> tuple[str, ...]:
        """The presets."""
        return ("tiny",) if self.tiny else ("small", "base", "large", "maisi")

    @property
    def batches(self) -> dict[int, int]:
        """The images of a batch by their side: about a million voxels, or more."""
        return {8: 1} if self.tiny else {64: 4, 96: 2, 128: 1}

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions of all sizes; fp32 is TF32 on a GPU."""
        return ("fp32", "bf16") if has_bf16(self.device) or self.tiny else ("fp32",)

    @property
    def rounds(self) -> int:
        """The rounds of which the median is taken."""
        return 1 if self.tiny else 7

    @property
    def product(self) -> int:
        """The side of the matrices whose product is the peak."""
        return 128 if self.tiny else 8192

    @property
    def compiles(self) -> bool:
        """Whether compiled networks are measured."""
        return not self.tiny


def train_tasks(scale: Scale) -> Iterator[Task]:
    """Yield the rows of training steps, and of norms alone."""
    yield from preset_tasks("train", scale)
    for channels, side in ((16, 96), (64, 64), (128, 64)):
        shape = (channels, 8 if scale.tiny else side)
        yield Task("train", f"norms {channels}", partial(norms, scale, *shape))


def inference_tasks(scale: Scale) -> Iterator[Task]:
    """Yield the rows of reconstructions."""
    yield from preset_tasks("inference", scale)


def preset_tasks(part: str, scale: Scale) -> Iterator[Task]:
    """Yield the rows of all presets, small sizes first."""
    for side in scale.batches:
        for model in scale.models:
            kinds = [(precision, False) for precision in scale.precisions]
            if side == min(scale.batches) and scale.device.type == "cuda":
                kinds.append(("fp16", False))
            if side == min(scale.batches) and scale.compiles and model in ("small", "base"):
                kinds.append(("bf16", True))
            for precision, compiled in kinds:
                name = f"{model} {side} {precision}{' compiled' if compiled else ''}"
                measure = partial(speed, part, scale, model, side, precision, compiled)
                yield Task(part, name, measure)


def speed(part: str, scale: Scale, model: str, side: int, precision: str, compiled: bool) -> Row:
    """Return the row of one preset."""
    with fast_kernels(scale.device):
        images = images_of(scale.batches[side], side, scale.device)
        contender = ours(preset(model), precision, scale.device, compiled)
        call = call_of(part, contender, images)
        work = len(images) * summarise(preset(model), (side,) * 3).flops
        # The gradients of inputs and weights take as many operations as the forward pass each.
        work *= 3 if part == "train" else 1
        seconds = medians({model: call}, scale.rounds, scale.device)[model]
        about = {"model": model, "side": side, "precision": precision, "compiled": compiled}
        return {**about, **row(scale, call, images, seconds, work, precision)}


def call_of(part: str, contender: Contender, images: torch.Tensor) -> Call:
    """Return a training step or a reconstruction."""
    return (training_step if part == "train" else reconstruction)(contender, images)


def row(
    scale: Scale, call: Call, images: torch.Tensor, seconds: float, work: int, precision: str
) -> Row:
    """Return speed, memory and the shares of two peaks."""
    side = 8 if scale.tiny else images.shape[2]
    product = peak_of_products(scale.device, precision, scale.product)
    convolution = peak_of_convolutions(scale.device, precision, side, 8 if scale.tiny else 64)
    return {
        "batch": len(images),
        "voxels_per_second": images.numel() / seconds,
        "gib": memory_of(call, scale.device),
        "share_of_product": work / seconds / product,
        "share_of_convolution": work / seconds / convolution,
    }


def peer_tasks(scale: Scale) -> Iterator[Task]:
    """Yield the rows of each peer with vae3d at the same channels, alternating."""
    for side in scale.batches:
        for precision in scale.precisions:
            for name in ("vae3d2d", "monai"):
                for part in ("train", "inference"):
                    key = f"{name} {side} {precision} {part}"
                    measure = partial(against, part, scale, name, side, precision)
                    yield Task("peers", key, measure)


def against(part: str, scale: Scale, name: str, side: int, precision: str) -> Row:
    """Return the voxels a second and GiB of a peer and of vae3d, or that it is not installed."""
    if find_spec(name) is None:
        return {"skipped": f"{name} is not installed"}
    with fast_kernels(scale.device):
        images = images_of(scale.batches[side], side, scale.device)
        contenders = matches(name, precision, scale.device)
        calls = {title: call_of(part, one, images) for title, one in contenders.items()}
        seconds = medians(calls, scale.rounds, scale.device)
        return {
            "peer": name, "side": side, "precision": precision, "part": part,
            "batch": len(images),
            "voxels_per_second": {t: images.numel() / s for t, s in seconds.items()},
            "gib": {title: memory_of(call, scale.device) for title, call in calls.items()},
        }  # fmt: skip


def norms(scale: Scale, channels: int, side: int) -> Row:
    """Return the milliseconds of each norm, forward and backward in bf16, and of a product."""
    device = scale.device
    images = images_of(1, side, device).expand(4, channels, side, side, side)
    images = images.to(torch.bfloat16).contiguous(memory_format=torch.channels_last_3d)
    images.requires_grad_()
    precision = Precision("bf16" if device.type == "cuda" else "fp32", device)

    def both(layer: torch.nn.Module) -> Call:
        def call() -> None:
            with precision.autocast(device):
                result = layer(images)
            torch.autograd.backward(result, torch.ones_like(result))

        return call

    calls: dict[str, Call] = {"x * 1.5": lambda: (images * 1.5).sum().backward()}  # type: ignore[no-untyped-call]
    for name, build in NORMS.items():
        layer = build(3, channels, 8).to(device)
        calls[name] = both(layer if device.type == "cuda" else layer.to(torch.bfloat16))
    seconds = medians(calls, scale.rounds, device)
    return {"channels": channels, "ms": {name: 1e3 * s for name, s in seconds.items()}}
