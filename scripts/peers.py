"""The peers' autoencoders behind one interface, for the benchmarks of model and fidelity.

They are imported when they are used: `pip install -e '.[bench]' vae3d2d==0.2.0`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@dataclass
class Network:
    """`losses(images)` gives reconstruction and KL, `reconstruct(images)` the posterior's mode."""

    name: str
    precision: str
    model: nn.Module
    losses: Callable[[Tensor], tuple[Tensor, Tensor]]
    reconstruct: Callable[[Tensor], Tensor]

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of its precision."""
        dtype = DTYPES[self.precision]
        return torch.autocast(device.type, dtype, enabled=dtype is not None)

    @property
    def title(self) -> str:
        """Name and precision."""
        return f"{self.name}, {self.precision}"


MONAI_CHANNELS = (16, 32, 64)


def monai(precision: str) -> Network:
    """MONAI's AutoencoderKL with one block a level and a factor of 4."""
    from monai.networks.nets.autoencoderkl import AutoencoderKL

    model: Any = AutoencoderKL(
        spatial_dims=3, in_channels=1, out_channels=1, channels=MONAI_CHANNELS,
        num_res_blocks=1, latent_channels=4, norm_num_groups=8, attention_levels=(False,) * 3,
        with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
    )  # fmt: skip

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, mean, sigma = model(images)
        mean, sigma = mean.float(), sigma.float()
        kl = 0.5 * (mean**2 + sigma**2 - (sigma**2).log() - 1)
        return reconstruction, kl.flatten(1).sum(1).mean()

    def reconstruct(images: Tensor) -> Tensor:
        found: Tensor = model.decode(model.encode(images)[0])
        return found

    return Network("MONAI AutoencoderKL", precision, model, losses, reconstruct)


VAE3D2D: dict[str, Any] = {
    "init_filters": 16,
    "smallest_filters": 64,
    "blocks_down": (1, 2, 2),
    "blocks_up": (1, 1),
    "downsample_strides": [(2, 2, 2), (2, 2, 2)],
    "vae_down_stride": (1, 1, 1),
    "vae_latent_channels": 4,
    "beta": 1e-6,
    "custom_losses": ["l1"],
    "custom_loss_weights": [1.0],
}
"""Without downsample_strides its constructor fails; this gives a factor of 4."""


def vae3d2d(precision: str) -> Network:
    """The CustomVAE of vae3d2d with its own channels and blocks; its loss stands for the KL."""
    from vae3d2d import CustomVAE

    model: Any = CustomVAE(**VAE3D2D)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        reconstruction, loss = model(images)
        return reconstruction, loss

    def reconstruct(images: Tensor) -> Tensor:
        found: Tensor = model(images)
        return found

    return Network("vae3d2d CustomVAE", precision, model, losses, reconstruct)
