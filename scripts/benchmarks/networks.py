"""vae3d's networks with the channels, blocks and resolutions of its peers, next to the peers."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import peers
from peers import MONAI_CHANNELS, Network
from vae3d.autoencoder.vae import CustomVAE
from vae3d.model.config import LevelSpec, VAEConfig

Maker = Callable[[str], Network]
"""Builds a network for a precision: `fp32` or `bf16`."""


def like_monai(norm: str = "layer") -> VAEConfig:
    """Return MONAI's channels, blocks and resolutions."""
    levels = [LevelSpec(c, 1, (2,) if i else (1,)) for i, c in enumerate(MONAI_CHANNELS)]
    return VAEConfig(spatial_dims=3, levels=levels, norm=norm, upsampling="nearest", patch=(1,))


def like_vae3d2d(norm: str = "layer") -> VAEConfig:
    """Return the channels, blocks, resolutions, activation and head of vae3d2d."""
    levels = [
        LevelSpec(16, 1),
        LevelSpec(32, 2, (2,), decoder_blocks=1),
        LevelSpec(64, 2, (2,), decoder_blocks=0),
    ]
    return VAEConfig(
        spatial_dims=3, levels=levels, norm=norm, activation="relu", patch=(1,), head_kernel=1
    )


def folded(config: VAEConfig) -> VAEConfig:
    """Return the same channels, blocks and factor with 2 voxels a side folded into channels."""
    *levels, last = config.levels
    return replace(config, patch=(2,), levels=[*levels, replace(last, stride=(1,))])


def ours(name: str, config: VAEConfig, precision: str) -> Network:
    """Return a CustomVAE."""
    model = CustomVAE(config)
    generator = torch.Generator().manual_seed(0)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        output = model(images, generator)
        return output.reconstruction, output.posterior.kl().flatten(1).sum(1).mean()

    def reconstruct(images: Tensor) -> Tensor:
        result: Tensor = model(images).reconstruction
        return result

    return Network(name, precision, model, losses, reconstruct)


def _matched(like: Callable[[str], VAEConfig], peer: Maker) -> list[tuple[Maker, str]]:
    at_half = partial(ours, "vae3d, folded", folded(like("layer")))
    same, group = (
        partial(ours, "vae3d", like("layer")),
        partial(ours, "vae3d, group norm", like("group")),
    )
    return [
        *((at_half, "bf16"), (same, "bf16")),
        *((at_half, "fp32"), (same, "fp32"), (group, "fp32")),
        *((peer, "bf16"), (peer, "fp32")),
    ]


MATCHES = {
    "vae3d2d": _matched(like_vae3d2d, peers.vae3d2d),
    "monai": _matched(like_monai, peers.monai),
}
"""Contenders with their precision, by peer; the peer as it runs by itself is the last one."""
