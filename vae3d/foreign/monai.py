"""Networks of MONAI: `AutoencoderKL`, `AutoencoderKlMaisi` and `VQVAE` from a state dict."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.autoencoder.config import MONAI_NETWORKS, MonaiConfig
from vae3d.autoencoder.state_dicts import read_state_dict
from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.files.plain import read_json, read_yaml
from vae3d.foreign.network import Network, built_for, check_fits, errors_named, first_of
from vae3d.model.gaussian import DiagonalGaussian, without_variance
from vae3d.runtime.registry import load

FILES = "autoencoder.config and autoencoder.options"
REQUIRED = ("spatial_dims", "in_channels", "out_channels")


class KLNetwork(Network):
    """MONAI's `AutoencoderKL`, or MAISI's."""

    def __init__(self, name: str, module: Any, options: dict[str, Any]) -> None:
        super().__init__(name, int(options["spatial_dims"]), int(options["in_channels"]))
        self.module = module

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """Return the posterior of images."""
        mean, std = self.module.encode(images)
        return DiagonalGaussian(mean, 2 * std.log())

    def decode(self, latents: Any) -> Tensor:
        """Return the images of latents."""
        images: Tensor = self.module.decode(latents)
        return images


class VQNetwork(KLNetwork):
    """MONAI's `VQVAE`, whose latents are vectors of a codebook; stored are their indices."""

    values = 1

    def __init__(self, name: str, module: Any, options: dict[str, Any]) -> None:
        super().__init__(name, module, options)
        self.bits = math.log2(module.num_embeddings)

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """Return the vectors of the codebook that are nearest to the encodings of images."""
        latents, _ = self.module.quantize(self.module.encode(images))
        return without_variance(latents)


def open_network(config: MonaiConfig, spatial_dims: int) -> Network:
    """Return the network with its weights, on the CPU.

    Raises:
        UserError: the arguments or the weights are missing, damaged or do not fit.
    """
    assert config.path is not None, "checked before"
    path, name = user_path(config.path), config.network
    build: Callable[..., nn.Module] = load(MONAI_NETWORKS[name])
    options = _arguments(config, build)
    state = read_state_dict(path)
    with errors_named(f"{FILES} do not fit {name}"):
        # Nothing is allocated until the tensors are known to fit the network.
        with torch.device("meta"), built_for(len(state)):
            expected = build(**options).state_dict()
        with errors_named(str(path)):
            check_fits(expected, state, name)
        module = build(**options)
        module.load_state_dict(state)
    kind = VQNetwork if name == "VQVAE" else KLNetwork
    return kind(f"MONAI {name}", module, options)


def _arguments(config: MonaiConfig, build: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return the arguments of the class, from the file and the command line.

    Raises:
        ConfigError: the file is none, or the class has no such argument.
    """
    options: dict[str, Any] = {}
    if config.config is not None:
        path = user_path(config.config)
        try:
            read = read_json if path.suffix == ".json" else read_yaml
            options = read(path)
        except OSError as error:
            raise ConfigError(f"autoencoder.config={path}: {error.strerror}") from error
        except ConfigError as error:
            raise ConfigError(f"autoencoder.config={path}: {error}") from error
        if not isinstance(options, dict):
            raise ConfigError(f"autoencoder.config={path}: must be a table of arguments")
    options |= config.options
    known = [*inspect.signature(build).parameters]
    unknown = [str(key) for key in options if key not in known]
    if unknown:
        raise ConfigError(
            f"{FILES}: {config.network} has no arguments {first_of(unknown)}; it "
            f"has {', '.join(known)}"
        )
    missing = [key for key in REQUIRED if key not in options]
    if missing:
        raise ConfigError(
            f"{config.network} needs its arguments {', '.join(missing)}: name a JSON or YAML file "
            "of them with autoencoder.config=, or type autoencoder.options.spatial_dims=3"
        )
    return options
