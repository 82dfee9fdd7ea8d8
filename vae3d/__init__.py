"""vae3d: variational autoencoders for 3D medical scans and 2D images."""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vae3d.version import WINDOWS, __version__

if TYPE_CHECKING:
    from vae3d.autoencoder.vae import CustomVAE
    from vae3d.latents.dataset import LatentDataset
    from vae3d.library import eval_3d, train_3d
    from vae3d.loss.config import LOSSES
    from vae3d.model.config import ACTIVATIONS, NORMS, VAEConfig
    from vae3d.scoring.config import METRICS

__all__ = [
    "ACTIVATIONS",
    "LOSSES",
    "METRICS",
    "NORMS",
    "CustomVAE",
    "LatentDataset",
    "VAEConfig",
    "__version__",
    "eval_3d",
    "train_3d",
]

_HOMES = {
    "ACTIVATIONS": "vae3d.model.config",
    "LOSSES": "vae3d.loss.config",
    "METRICS": "vae3d.scoring.config",
    "NORMS": "vae3d.model.config",
    "LatentDataset": "vae3d.latents.dataset",
    "CustomVAE": "vae3d.autoencoder.vae",
    "VAEConfig": "vae3d.model.config",
    "train_3d": "vae3d.library",
    "eval_3d": "vae3d.library",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `vae3d --help` must not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'vae3d' has no attribute {name!r}")
    if sys.platform == "win32":
        raise ImportError(WINDOWS)
    return getattr(import_module(_HOMES[name]), name)
