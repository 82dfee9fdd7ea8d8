"""Seconds, memory and operations of a call on a device."""

import statistics
import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from gpu.contenders import Contender
from vae3d.runtime.memory import peak_memory

Call = Callable[[], object]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def training_step(contender: Contender, images: Tensor) -> Call:
    """Return a call of one step of Adam on the absolute error and the KL."""
    parameters = contender.model.parameters()
    optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)
    precision, finite = contender.precision, torch.tensor(True, device=images.device)

    def step() -> None:
        contender.model.train()
        with precision.autocast(images.device):
            reconstruction, kl = contender.losses(images)
        loss = (reconstruction.float() - images).abs().mean() + 1e-6 * kl.float()
        optimizer.zero_grad(set_to_none=True)
        precision.backward(loss)
        precision.step(optimizer, finite)

    return step


def reconstruction(contender: Contender, images: Tensor) -> Call:
    """Return a call that encodes and decodes, without gradients."""

    def call() -> None:
        contender.model.eval()
        with torch.no_grad(), contender.precision.autocast(images.device):
            contender.reconstruct(images)

    return call


def images_of(batch: int, side: int, device: torch.device) -> Tensor:
    """Return random images (batch, 1, side, side, side) in [-1, 1]."""
    return torch.rand(batch, 1, side, side, side, device=device) * 2 - 1


def timed(call: Call, device: torch.device) -> float:
    """Return the seconds of a call, with everything on the device finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def medians(calls: dict[str, Call], rounds: int, device: torch.device) -> dict[str, float]:
    """Return the median seconds of calls that alternate, after calls that warm up."""
    for call in calls.values():
        for _ in range(3 if device.type == "cuda" else 1):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(timed(call, device))
    return {name: statistics.median(spent) for name, spent in times.items()}


def memory_of(call: Call, device: torch.device) -> float | None:
    """Return the GiB of a call above what is held before it."""

    def discard() -> None:
        call()

    peak = peak_memory(discard, device)
    return None if peak is None else peak / 2**30


@cache
def peak_of_products(device: torch.device, precision: str, side: int) -> float:
    """Return the operations a second of a product of matrices: what the device can do."""
    a = torch.randn(side, side, device=device).to(DTYPES[precision])
    best = min(timed(lambda: torch.mm(a, a), device) for _ in range(6))
    return 2 * side**3 / best


@cache
def peak_of_convolutions(device: torch.device, precision: str, side: int, channels: int) -> float:
    """Return the operations a second of a convolution of a kernel of 3, channels last."""
    images = torch.randn(4, channels, side, side, side, device=device).to(DTYPES[precision])
    images = images.contiguous(memory_format=torch.channels_last_3d)
    layer = torch.nn.Conv3d(channels, channels, 3, padding=1)
    layer = layer.to(device, DTYPES[precision], memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    with torch.no_grad():
        best = min(timed(lambda: layer(images), device) for _ in range(6))
    return 2 * 27 * channels**2 * images[:, 0].numel() / best
