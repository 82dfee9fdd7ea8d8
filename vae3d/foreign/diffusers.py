"""Autoencoders of diffusers, of images and of video, from a local folder."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vae3d.autoencoder.config import DIFFUSERS_NETWORKS, DiffusersConfig
from vae3d.autoencoder.state_dicts import MAX_BYTES
from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.files.plain import read_json
from vae3d.files.reading import check_regular, reason_of
from vae3d.foreign.network import Network, built_for, errors_named, first_of
from vae3d.model.gaussian import DiagonalGaussian, without_variance
from vae3d.runtime.registry import load

CONFIG, TENSORS = "config.json", "diffusion_pytorch_model.safetensors"
IMAGES = "AutoencoderKL"
"""The one network of images; the others are of video."""
TRIAL_FRAMES = 17
"""Frames of the trial: every network takes 16 k + 1."""


class DiffusersNetwork(Network):
    """A network of diffusers; the scale of latents that its pipelines apply is not needed."""

    def __init__(self, kind: str, module: Any) -> None:
        video = kind != IMAGES
        super().__init__(f"diffusers {kind}", 3 if video else 2, module.config.in_channels)
        self.module = module
        self.frames = video
        # It decodes two frames of the latent at a time, and the first of an odd number alone.
        self.frame_groups = 2 if kind == "AutoencoderKLCogVideoX" else 1

    @property
    def trial(self) -> tuple[int, ...]:
        """The size of the images of its trial."""
        return (TRIAL_FRAMES, 64, 64) if self.frames else (64, 64)

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """Return the posterior of images."""
        posterior = self.module.encode(images).latent_dist
        logvar = getattr(posterior, "logvar", None)
        if logvar is None:
            return without_variance(posterior.mode())
        return DiagonalGaussian(posterior.mode(), logvar)

    def decode(self, latents: Any) -> Tensor:
        """Return the images of latents."""
        images: Tensor = self.module.decode(latents).sample
        return images


def open_network(config: DiffusersConfig, spatial_dims: int) -> Network:
    """Return the network of a folder with its weights in float32, on the CPU.

    Raises:
        ConfigError: the folder is none of diffusers, is damaged, or of another network.
    """
    assert config.path is not None, "checked before"
    folder = user_path(config.path)
    kind, values = _described(folder, config)
    build = load(DIFFUSERS_NETWORKS[kind])
    with errors_named(f"{folder}: is no {kind} that diffusers can load"):
        with torch.device("meta"), built_for(_count_of(folder / TENSORS)):
            promised = sum(p.numel() for p in build.from_config(values).parameters())
        # A number takes a byte at least.
        if promised > (folder / TENSORS).stat().st_size:
            raise ConfigError(
                f"{folder / CONFIG}: describes a network of {promised:,} parameters, more than "
                f"{TENSORS} can hold"
            )
        module, info = build.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    texts = {"it lacks": "missing_keys", "it has also": "unexpected_keys"}
    findings = [
        f"{text} {first_of(sorted(info[key]))}" for text, key in texts.items() if info[key]
    ]
    if findings:
        raise ConfigError(
            f"{folder / TENSORS}: its tensors are not those of {kind} with the arguments in "
            f"{CONFIG}: {'; '.join(findings)}"
        )
    return DiffusersNetwork(kind, module)


def _count_of(path: Path) -> int:
    """Return the number of tensors in a file."""
    check_regular(path)
    with safe_open(path, framework="pt") as file:
        return len(file.keys())


def _described(folder: Path, config: DiffusersConfig) -> tuple[str, dict[str, Any]]:
    """Return the class of a folder and its arguments; the files of the folder are regular ones.

    Raises:
        ConfigError: it is no folder of an autoencoder of diffusers.
    """
    known = ", ".join(DIFFUSERS_NETWORKS)
    hint = f"name the folder vae of a pipeline of diffusers, with {CONFIG} and {TENSORS}"
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is no folder; {hint}")
    try:
        values = read_json(folder / CONFIG)
        check_regular(folder / TENSORS, MAX_BYTES)
    except OSError as error:
        name = Path(str(error.filename)).name
        raise ConfigError(f"{folder}: {name}: {reason_of(error)}; {hint}") from error
    except ConfigError as error:
        raise ConfigError(f"{folder / CONFIG}: {error}") from error
    named = values.get("_class_name") if isinstance(values, dict) else None
    if named not in DIFFUSERS_NETWORKS:
        raise ConfigError(f"{folder / CONFIG}: is of {named!r:.60}, not one of {known}")
    if "quantization_config" in values or "auto_map" in values:
        raise ConfigError(f"{folder / CONFIG}: is of a quantized network, or of code of its own")
    if config.network not in (None, named):
        raise ConfigError(f"autoencoder.network={config.network}: {folder / CONFIG} is of {named}")
    return str(named), values
