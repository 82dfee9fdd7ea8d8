"""`streaming_plan`: which way a volume goes through a model, told beforehand."""

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
from vae3d.streaming.network import norms_of
from vae3d.streaming.volume import decoded, encoded

MOST_PLANES = 32
"""More planes of a slab make nothing faster."""
HEAP = 2.25
"""Bytes that the process takes for each that tensors hold: glibc's heap keeps the gaps between
them. 1.3 to 2.3 were measured on a CPU, the less the larger the slabs are."""
LARGE = 512 * 2**20
LARGE_HEAP = 1.3
"""Volumes at once that take more than LARGE are of tensors that the heap maps on their own."""
KERNELS = 32 * 2**20
"""What kernels take at most, beside two copies of the largest weight in their own layout."""
STEADY = 3
"""After so many slabs have come out every layer holds what it will ever hold."""


@dataclass(frozen=True)
class StreamingPlan:
    """How one image is encoded and decoded.

    `way` is `whole` (all at once), `streamed` (slabs of `planes` planes of the first axis) or
    `passes` (streamed too, but the encoder and the decoder read their input several times, since
    norms need the statistics of the whole volume). `passes` is how often the two read it together,
    two where nothing is read twice. `bytes` is what it takes at its peak beside the weights, the
    image, the latent and the reconstruction.
    """

    way: str
    planes: int
    passes: int
    bytes: int


def streaming_plan(model: VAE, shape: tuple[int, ...], memory: float | None) -> StreamingPlan:
    """The way of one image of this spatial shape in so many GiB (None: as many as it takes).

    Whole where that fits, else with the most planes that fit, MOST_PLANES at most. What it takes
    is found by sending tensors without values through the very streams, counting the bytes that
    live at once, in float32 (bfloat16 takes less); HEAP and KERNELS make of that what a process
    takes. They were measured on a CPU; a GPU takes less.

    Raises:
        ConfigError: even the thinnest slabs take more, or a layer cannot be streamed.
    """
    whole = StreamingPlan("whole", shape[0], 2, whole_bytes(model, shape))
    if memory is None or whole.bytes <= memory * GIB:
        return whole
    plan = whole
    for plan in streamed_plans(model, shape):
        if plan.bytes <= memory * GIB:
            return plan
    raise ConfigError(
        f"memory must be at least {plan.bytes / GIB:.3g} GiB for an image of "
        f"{' x '.join(map(str, shape))}, got {memory:g}"
    )


def streamed_plans(model: VAE, shape: tuple[int, ...]) -> Iterator[StreamingPlan]:
    """The ways slab by slab, the thickest slabs first.

    Raises:
        ConfigError: a layer cannot be streamed.
    """
    norms = sum(norms_of(network) for network in (model.encoder, model.decoder))
    way = "passes" if norms else "streamed"
    for planes in slabs_of(model.factor[0], shape[0]):
        yield StreamingPlan(way, planes, 2 + norms, streamed_bytes(model, shape, planes))


def slabs_of(factor: int, depth: int) -> Iterator[int]:
    """The numbers of planes that come into question, the largest first."""
    planes = factor
    while 2 * planes <= MOST_PLANES and planes < depth:
        planes *= 2
    while planes >= factor:
        yield planes
        planes //= 2


def whole_bytes(vae: VAE, shape: tuple[int, ...]) -> int:
    """What encoding or decoding an image of this shape at once takes, whichever takes more."""
    model, image, latent = _without_values(vae.config, shape)
    with metered() as meter:
        model.encode(image)
    with metered() as other:
        model.decode(latent)
    held = max(meter.peak, other.peak)
    return int(max(LARGE_HEAP * held, min(HEAP * held, LARGE))) + _kernels(model)


def streamed_bytes(vae: VAE, shape: tuple[int, ...], planes: int) -> int:
    """What encoding or decoding it by so many planes at once takes, whichever takes more."""
    config = vae.config
    # A norm whose statistics are known holds what a pointwise one does.
    known = config if config.norm not in ("group", "instance") else replace(config, norm="layer")
    model, image, latent = _without_values(known, shape)
    kinds = {config.attention.bottleneck, *(level.attention for level in config.levels)}
    slabs = None if "global" in kinds else STEADY
    peaks = []
    for run in (encoded(model, image, planes), decoded(model, latent, planes)):
        with metered() as meter:
            _exhaust(run, slabs)
        peaks.append(meter.peak)
    return int(HEAP * max(peaks)) + _kernels(model)


def _kernels(model: VAE) -> int:
    return 2 * max(parameter.nbytes for parameter in model.parameters()) + KERNELS


def _without_values(config: VAEConfig, shape: tuple[int, ...]) -> tuple[VAE, Tensor, Tensor]:
    """The model, an image and a latent that take no memory."""
    with torch.device("meta"):
        model = VAE(config).eval()
        image = torch.empty(1, config.in_channels, *shape)
        latent = torch.empty(1, config.latent_channels, *model.latent_size(shape))
    return model, image, latent


def _exhaust(slabs: Iterator[Tensor], count: int | None) -> None:
    for slab in islice(slabs, count):
        del slab
