"""`streaming_plan`: how a volume will be encoded and decoded, and the memory that it takes."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.model.config import VAEConfig
from vae3d.model.vae import VAE
from vae3d.runtime.memory import GIB
from vae3d.streaming.meter import metered
from vae3d.streaming.network import count_measured_norms
from vae3d.streaming.volume import decoded, encoded

MAX_PLANES = 32
"""Planes of a slab; thicker slabs are not faster."""
HEAP_FACTOR = 2.25
"""Bytes of the process per byte of tensors: glibc's heap keeps the gaps between them. 1.3 to 2.3
were measured on a CPU, less for larger slabs."""
LARGE_BYTES = 512 * 2**20
"""Bytes above which LARGE_HEAP_FACTOR applies to a volume in one pass."""
LARGE_HEAP_FACTOR = 1.3
"""HEAP_FACTOR of large tensors, which the heap maps individually."""
KERNEL_BYTES = 32 * 2**20
"""Bytes that kernels allocate at most, besides two copies of the largest weight in their own
layout."""
GPU_HEAP_FACTOR = 1.25
"""HEAP_FACTOR of torch's allocator for GPUs, which rounds blocks up and splits them."""
GPU_KERNEL_BYTES = 512 * 2**20
"""KERNEL_BYTES of cuDNN's workspaces. The two have not been measured on a GPU: tests/gpu compares
plans with the peak."""
MAX_GPU_NUMBERS = 2**31 - 1
"""Numbers of a tensor on a GPU: kernels of norms and convolutions index with 32 bits."""
STEADY_SLABS = 3
"""Output slabs after which the memory of every layer has reached its peak."""


@dataclass(frozen=True)
class StreamingPlan:
    """How one image is encoded and decoded.

    `way` is `whole` (in one pass), `streamed` (slabs of `planes` planes of the first axis) or
    `passes` (streamed too, but the encoder and the decoder read their input several times, since
    norms need the statistics of the whole volume). `passes` counts how often the two read their
    input, 2 if each reads it once. `bytes` is the peak of the memory, without the weights, the
    image, the latent and the reconstruction; `largest` is the number of elements of the largest
    tensor.
    """

    way: str
    planes: int
    passes: int
    bytes: int
    largest: int = 0


def streaming_plan(model: VAE, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
    """Return the plan for one image of this spatial shape in `memory` GiB (None is no limit).

    Whole if that fits, else with the most planes that fit, at most MAX_PLANES. To predict the
    memory, tensors on the meta device pass through the same streams, and the bytes that exist at
    the same time are counted, in float32 (bfloat16 takes less). HEAP_FACTOR and KERNEL_BYTES turn
    them into the memory of a process. On a GPU no tensor has more than MAX_GPU_NUMBERS numbers.

    Raises:
        ConfigError: even the thinnest slabs take more, or a layer cannot be streamed.
    """
    bytes_, largest = math.inf if memory is None else memory * GIB, _max_numbers(model)
    whole = whole_plan(model, shape)
    if whole.bytes <= bytes_ and whole.largest <= largest:
        return whole
    plan = whole
    for plan in streamed_plans(model, shape):
        if plan.bytes <= bytes_ and plan.largest <= largest:
            return plan
    sides = " x ".join(map(str, shape))
    if plan.bytes <= bytes_:
        raise ConfigError(
            f"memory: an image of {sides} is too large for a GPU even slab by slab (a slab of it "
            f"has {plan.largest:,} numbers, at most {largest:,}); compute it on a CPU"
        )
    raise ConfigError(
        f"memory must be at least {plan.bytes / GIB:.3g} GiB for an image of {sides}, "
        f"got {memory:g}"
    )


def may_exceed_gpu(model: VAE, images: int, shape: tuple[int, ...]) -> bool:
    """Return whether images of this spatial shape may need a tensor that a GPU cannot index.

    A bound that takes no time: no layer has more than four numbers for a voxel and a channel.
    """
    channels = max(level.channels for level in model.config.levels)
    return 4 * images * math.prod(shape) * channels > _max_numbers(model)


def streamed_plans(model: VAE, shape: tuple[int, ...]) -> Iterator[StreamingPlan]:
    """Yield the plans slab by slab, the thickest slabs first.

    Raises:
        ConfigError: a layer cannot be streamed.
    """
    norms = sum(count_measured_norms(network) for network in (model.encoder, model.decoder))
    way = "passes" if norms else "streamed"
    for planes in slabs_of(model.factor[0], shape[0]):
        bytes_, largest = _streamed_cost(model, shape, planes)
        yield StreamingPlan(way, planes, 2 + norms, bytes_, largest)


def slabs_of(factor: int, depth: int) -> Iterator[int]:
    """Yield the numbers of planes that a slab may have, the largest first."""
    planes = factor
    while 2 * planes <= MAX_PLANES and planes < depth:
        planes *= 2
    while planes >= factor:
        yield planes
        planes //= 2


def whole_plan(vae: VAE, shape: tuple[int, ...]) -> StreamingPlan:
    """Return the plan to encode and decode an image in one pass, whichever takes more."""
    model, image, latent = _on_meta(vae.config, shape)
    with metered() as encoding:
        model.encode(image)
    with metered() as decoding:
        model.decode(latent)
    peak = max(encoding.peak, decoding.peak)
    heap = max(LARGE_HEAP_FACTOR * peak, min(HEAP_FACTOR * peak, LARGE_BYTES))
    if _on_gpu(vae):
        heap = GPU_HEAP_FACTOR * peak
    largest = max(encoding.largest, decoding.largest)
    return StreamingPlan("whole", shape[0], 2, int(heap) + _kernel_bytes(vae), largest)


def whole_bytes(vae: VAE, shape: tuple[int, ...]) -> int:
    """Return the bytes to encode or decode an image in one pass, whichever takes more."""
    return whole_plan(vae, shape).bytes


def streamed_bytes(vae: VAE, shape: tuple[int, ...], planes: int) -> int:
    """Return the bytes to encode or decode an image in slabs, whichever takes more."""
    return _streamed_cost(vae, shape, planes)[0]


def _streamed_cost(vae: VAE, shape: tuple[int, ...], planes: int) -> tuple[int, int]:
    """Return the bytes, and the number of elements of the largest tensor."""
    config = vae.config
    if config.norm in ("group", "instance"):
        # Once its statistics are measured, such a norm takes the memory of a pointwise one.
        config = replace(config, norm="layer")
    model, image, latent = _on_meta(config, shape)
    kinds = {config.attention.bottleneck, *(level.attention for level in config.levels)}
    # Global attention keeps all slabs: its peak is at the end.
    count = None if "global" in kinds else STEADY_SLABS
    peaks, largest = [], 0
    for run in (encoded(model, image, planes), decoded(model, latent, planes)):
        with metered() as meter:
            # Consumes the slabs, freeing each immediately.
            deque(islice(run, count), maxlen=0)
        peaks.append(meter.peak)
        largest = max(largest, meter.largest)
    factor = GPU_HEAP_FACTOR if _on_gpu(vae) else HEAP_FACTOR
    return int(factor * max(peaks)) + _kernel_bytes(vae), largest


def _kernel_bytes(vae: VAE) -> int:
    weight = max(parameter.nbytes for parameter in vae.parameters())
    return 2 * weight + (GPU_KERNEL_BYTES if _on_gpu(vae) else KERNEL_BYTES)


def _max_numbers(vae: VAE) -> float:
    return MAX_GPU_NUMBERS if _on_gpu(vae) else math.inf


def _on_gpu(vae: VAE) -> bool:
    return next(vae.parameters()).is_cuda


def _on_meta(config: VAEConfig, shape: tuple[int, ...]) -> tuple[VAE, Tensor, Tensor]:
    """Return the model, an image and a latent on the meta device, without memory."""
    with torch.device("meta"):
        model = VAE(config).eval()
        image = torch.empty(1, config.in_channels, *shape)
        latent = torch.empty(1, config.latent_channels, *model.latent_size(shape))
    return model, image, latent
