"""The networks that are timed: presets of vae3d, and peers with networks of the same shape."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec

import torch
from torch import Tensor, nn

import peers
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.runtime.precision import Precision


@dataclass
class Contender:
    """A network on a device: `losses(images)` are reconstruction and KL."""

    model: nn.Module
    precision: Precision
    losses: Callable[[Tensor], tuple[Tensor, Tensor]]
    reconstruct: Callable[[Tensor], Tensor]


def preset(name: str) -> VAEConfig:
    """Return the architecture of `model=NAME` in 3D."""
    config: VAEConfig = composed("train", f"model={name}").model
    return replace(config, spatial_dims=3)


def ours(
    config: VAEConfig, precision: str, device: torch.device, compiled: bool = False
) -> Contender:
    """Return a CustomVAE, in the memory format of the device."""
    model = CustomVAE(config).to_device(device)
    network: Callable[..., object] = torch.compile(model) if compiled else model
    generator = torch.Generator().manual_seed(0)

    def losses(images: Tensor) -> tuple[Tensor, Tensor]:
        output = network(images, generator)
        return output.reconstruction, output.posterior.kl().flatten(1).sum(1).mean()  # type: ignore[attr-defined]

    def reconstruct(images: Tensor) -> Tensor:
        result: Tensor = network(images).reconstruction  # type: ignore[attr-defined]
        return result

    return Contender(model, Precision(precision, device), losses, reconstruct)


def peer(name: str, precision: str, device: torch.device) -> Contender:
    """Return the network of `monai` or `vae3d2d` as it runs by itself."""
    if name == "vae3d2d":
        import_vae3d2d()
    network = {"monai": peers.monai, "vae3d2d": peers.vae3d2d}[name]("fp32")
    network.model.to(device)
    return Contender(
        network.model, Precision(precision, device), network.losses, network.reconstruct
    )


def import_vae3d2d() -> None:
    """Import the network of vae3d2d alone: the package's own imports need wandb and matplotlib.

    Raises:
        ImportError: it is not installed.
    """
    spec = find_spec("vae3d2d")
    if spec is None:
        raise ImportError("vae3d2d is not installed")
    if "vae3d2d" not in sys.modules:
        package = sys.modules["vae3d2d"] = module_from_spec(spec)
        from vae3d2d.model import CustomVAE

        package.CustomVAE = CustomVAE  # type: ignore[attr-defined]


def like_monai() -> VAEConfig:
    """Return the channels, blocks and factor of `peers.monai`."""
    channels = peers.MONAI_CHANNELS
    levels = [LevelSpec(c, 1, (2,) if i else (1,)) for i, c in enumerate(channels)]
    return VAEConfig(spatial_dims=3, levels=levels, upsampling="nearest", patch=(1,))


def like_vae3d2d() -> VAEConfig:
    """Return the channels, blocks, factor, activation and head of `peers.vae3d2d`."""
    levels = [
        LevelSpec(16, 1),
        LevelSpec(32, 2, (2,), decoder_blocks=1),
        LevelSpec(64, 2, (2,), decoder_blocks=0),
    ]
    return VAEConfig(spatial_dims=3, levels=levels, activation="relu", patch=(1,), head_kernel=1)


def folded(config: VAEConfig) -> VAEConfig:
    """Return the same channels, blocks and factor with 2 voxels a side folded into channels."""
    *levels, last = config.levels
    return replace(config, patch=(2,), levels=[*levels, replace(last, stride=(1,))])


def matches(name: str, precision: str, device: torch.device) -> dict[str, Contender]:
    """Return a peer, the last one, and vae3d with its channels: folded, and at its resolutions."""
    config = {"monai": like_monai, "vae3d2d": like_vae3d2d}[name]()
    return {
        "vae3d, folded": ours(folded(config), precision, device),
        "vae3d": ours(config, precision, device),
        name: peer(name, precision, device),
    }
