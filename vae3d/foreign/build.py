"""`open_autoencoder`: the autoencoder of another program that the settings name."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from vae3d.autoencoder.config import AutoencoderConfig, ForeignConfig
from vae3d.errors import ConfigError
from vae3d.foreign.autoencoder import ForeignAutoencoder
from vae3d.runtime.registry import load


def open_autoencoder(
    config: AutoencoderConfig, spatial_dims: int, device: torch.device
) -> ForeignAutoencoder:
    """Return the autoencoder on the device, for data of `spatial_dims` axes.

    Raises:
        UserError: its library is not installed, its files are missing, damaged or of another
            network, or a trial image shows that it cannot be used.
    """
    assert isinstance(config, ForeignConfig), "vae3d's own weights are those of run="
    path: Any = getattr(config, "path", None)
    if not path:
        what = "a callable, package.module:name" if config.runs_code else "its weights"
        raise ConfigError(f"autoencoder.path must name {what}")
    if config.library and find_spec(config.library) is None:
        raise ConfigError(
            f"autoencoder={config.library} needs the package {config.library}: "
            f"pip install 'vae3d[{config.library}]'"
        )
    network = load(config.opener)(config, spatial_dims)
    return ForeignAutoencoder(network, config, spatial_dims, device)


def name_of(config: AutoencoderConfig) -> str:
    """Return a short name of the autoencoder: that of its file, folder or callable."""
    path = str(getattr(config, "path", None) or "")
    if getattr(config, "runs_code", False):
        return path.rpartition(":")[2]
    place = Path(path).absolute()
    # The folder of a pipeline's autoencoder is called vae in every pipeline.
    return f"{place.parent.name}-{place.name}" if place.name == "vae" else place.stem
