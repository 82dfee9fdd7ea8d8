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
    shape = len(image), model.config.latent_channels, *model.latent_size(image.shape[2:])
    whole: DiagonalGaussian | None = None
    at = 0
    for slab in encoded(model, image, planes):
        part = model.posterior(slab)
        if whole is None:
            # Slabs to concatenate at the end would be a second latent in memory.
            mean = torch.empty(shape, dtype=part.mean.dtype, device=image.device)
            whole = DiagonalGaussian(mean, torch.empty_like(mean))
        count = part.mean.shape[2]
        whole.mean[:, :, at : at + count] = part.mean
        whole.logvar[:, :, at : at + count] = part.logvar
        at += count
    assert whole is not None
    assert at == shape[2]
    return whole


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
    full = [n * f for n, f in zip(latent.shape[2:], model.factor, strict=True)]
    depth, *rest = size or full
    image = None
    at = 0
    for slab in decoded(model, latent, planes):
        count = min(slab.shape[2], depth - at)
        if image is None:
            shape = (*slab.shape[:2], depth, *rest)
            image = torch.empty(shape, dtype=slab.dtype, device=latent.device)
        image[:, :, at : at + count] = cropped(slab, (count, *rest))
        at += count
    assert image is not None
    assert at == depth
    return image


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
