"""Encode and decode a whole volume slab by slab."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.model.vae import VAE, eval_mode
from vae3d.streaming.network import chain_of

PLANES = 16
"""Planes of the image in a slab, unless specified."""


@torch.no_grad()
def stream_encode(model: VAE, image: Tensor, planes: int = PLANES) -> DiagonalGaussian:
    """Return `model.encode` of images (B, C, *spatial) in eval mode, slab by slab.

    A slab has `planes` planes of the first axis, rounded up to the model's factor. The image may
    be on another device than the model: its slabs are moved to the model, and the posterior is on
    the image's device. Each norm over the whole volume costs another pass over all layers before
    it (`streaming_plan` returns how many).

    Raises:
        ConfigError: a layer of the model cannot be streamed.
    """
    posteriors = map(model.posterior, encoded(model, image, planes))
    slabs = (torch.stack([part.mean, part.logvar]) for part in posteriors)
    mean, logvar = _assembled(slabs, model.latent_size(image.shape[2:]), image.device)
    return DiagonalGaussian(mean, logvar)


@torch.no_grad()
def stream_decode(
    model: VAE, latent: Tensor, size: tuple[int, ...] | None = None, planes: int = PLANES
) -> Tensor:
    """Return `model.decode` of latents (B, latent_channels, *spatial), slab by slab.

    A slab has `planes` planes of the image, as in `stream_encode`. The image is on the latent's
    device.

    Raises:
        ConfigError: a layer of the model cannot be streamed.
    """
    full = tuple(n * f for n, f in zip(latent.shape[2:], model.factor, strict=True))
    return _assembled(decoded(model, latent, planes), size or full, latent.device)


def _assembled(slabs: Iterator[Tensor], size: tuple[int, ...], device: torch.device) -> Tensor:
    """Return slabs (..., d, *rest) as one tensor (..., *size), without what exceeds this size."""
    whole = None
    at = 0
    for slab in slabs:
        *leading, planes = slab.shape[: 1 - len(size)]
        if whole is None:
            # Slabs to concatenate at the end would be a second volume in memory.
            whole = torch.empty(*leading, *size, dtype=slab.dtype, device=device)
        count = min(planes, size[0] - at)
        whole.narrow(-len(size), at, count).copy_(cropped(slab, (count, *size[1:])))
        at += count
    assert whole is not None
    assert at == size[0]
    return whole


def encoded(model: VAE, image: Tensor, planes: int) -> Iterator[Tensor]:
    """Yield slabs (B, parameters, d, *rest) of the encoder's output, on the model's device."""
    step = model.factor[0] * latent_planes(model, planes)
    yield from _streamed(model, model.encoder, image, step, folded=True)


def decoded(model: VAE, latent: Tensor, planes: int) -> Iterator[Tensor]:
    """Yield slabs (B, C, d, *rest) of the image, on the model's device."""
    step = latent_planes(model, planes)
    for slab in _streamed(model, model.decoder, latent, step, folded=False):
        yield model.unfolded(slab)


def latent_planes(model: VAE, planes: int) -> int:
    """Return the number of planes of the latent for `planes` of the image, rounded up."""
    return -(-planes // model.factor[0])


def _streamed(
    model: VAE, network: nn.Module, x: Tensor, step: int, folded: bool
) -> Iterator[Tensor]:
    """Yield slabs of a network's output; each pass but the last measures one more norm."""
    device = next(network.parameters()).device

    def slabs() -> Iterator[Tensor]:
        # Slabs of a multiple of the factor need padding at the volume's end only.
        for slab in torch.split(x, step, dim=2):
            yield model.folded(slab.to(device)) if folded else slab.to(device)

    with eval_mode(model):
        chain = chain_of(network)
        while chain.measuring:
            for _ in chain.run(slabs()):
                raise AssertionError("a pass that measures returns no planes")
        yield from chain.run(slabs())
