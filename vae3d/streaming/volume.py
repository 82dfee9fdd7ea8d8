"""A whole volume to its latent and back, slab by slab."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import cropped
from vae3d.model.vae import VAE, eval_mode
from vae3d.streaming.network import chain_of

PLANES = 16


@torch.no_grad()
def stream_encode(model: VAE, image: Tensor, planes: int = PLANES) -> DiagonalGaussian:
    """`model.encode` of images (B, C, *spatial) in eval mode, `planes` of the first axis at once.

    The image may lie elsewhere than the model: slabs of it go there, and the posterior lies where
    the image does. `planes` is rounded up to the model's factor. A norm over the volume costs a
    pass over what comes before it (`streaming_plan` says how many).

    Raises:
        ConfigError: a layer of the model cannot be streamed.
    """
    shape = len(image), model.config.latent_channels, *model.latent_size(image.shape[2:])
    whole: DiagonalGaussian | None = None
    at = 0
    for slab in encoded(model, image, planes):
        part = model.posterior(slab)
        if whole is None:
            # Slabs that waited to be put together would be a second latent in memory.
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
    """`model.decode` of latents (B, latent_channels, *spatial), `planes` of the image at once.

    As in `stream_encode`; the image lies where the latent does.

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
    """The encoder's output (B, parameters, d, *rest) as it comes, where the model lies."""
    step = model.factor[0] * latent_planes(model, planes)
    yield from _streamed(model, model.encoder, image, step, folded=True)


def decoded(model: VAE, latent: Tensor, planes: int) -> Iterator[Tensor]:
    """Slabs (B, C, d, *rest) of the image as they come, where the model lies."""
    step = latent_planes(model, planes)
    for slab in _streamed(model, model.decoder, latent, step, folded=False):
        yield model.unfolded(slab)


def latent_planes(model: VAE, planes: int) -> int:
    """The planes of the latent that so many of the image become."""
    return -(-planes // model.factor[0])


def _streamed(
    model: VAE, network: nn.Module, x: Tensor, step: int, folded: bool
) -> Iterator[Tensor]:
    """A network's output for x: in each pass but the last one more norm is measured."""
    device = next(network.parameters()).device

    def slabs() -> Iterator[Tensor]:
        # Slabs of a multiple of the factor are padded at the volume's end alone.
        for slab in torch.split(x, step, dim=2):
            yield model.folded(slab.to(device)) if folded else slab.to(device)

    with eval_mode(model):
        chain = chain_of(network)
        while chain.measuring:
            for _ in chain.run(slabs()):
                raise AssertionError("nothing comes out of a pass that measures")
        yield from chain.run(slabs())
