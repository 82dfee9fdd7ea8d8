"""Weights on disk: `config.json`, `model.safetensors` and a model card, without any code."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.autoencoder.card import model_card
from vae3d.errors import ConfigError, RunError
from vae3d.model.config import VAEConfig
from vae3d.runtime.files import atomic_folder, write_json, write_text
from vae3d.runtime.plain import from_plain, read_json
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"
CARD_FILE = "README.md"
LATENTS = "latents"
"""The key of `config.json` with the statistics of these weights' latents."""
MAX_HEADER_BYTES = 2**24
"""The limit on a file's header; that of the largest possible network is about 5 MB."""
FLOATS = ("F16", "BF16", "F32", "F64")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of torch's batch norms that are not parameters."""


@dataclass(frozen=True)
class Weights:
    """The description of a folder of weights as plain values; `tensors` reads the tensors.

    `shapes` holds the kind (`F32`) and the shape of each tensor, from the file's header. `plugins`
    are names of modules, which are never imported.
    """

    path: Path
    architecture: dict[str, Any]
    contract: InputContract
    shapes: dict[str, tuple[str, tuple[int, ...]]]
    statistics: LatentStatistics | None = None
    plugins: tuple[str, ...] = ()

    def check(self, expected: dict[str, Tensor]) -> None:
        """Compare with the tensors of a network, which may be on the meta device.

        Raises:
            RunError: a name, shape or kind differs; the message names the first.
        """
        for name in {**expected, **self.shapes}:
            if name not in expected:
                raise RunError(f"{name} is in {TENSOR_FILE}, but not in the architecture")
            if name not in self.shapes:
                raise RunError(f"{name} is missing in {TENSOR_FILE}")
            kind, shape = self.shapes[name]
            if shape != tuple(expected[name].shape):
                raise RunError(f"{name} has shape {shape}, not {tuple(expected[name].shape)}")
            if (kind in FLOATS) != expected[name].is_floating_point():
                raise RunError(f"{name} holds {kind} numbers")

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, on the CPU.

        Raises:
            RunError: the file is damaged.
        """
        try:
            tensors: dict[str, Tensor] = load_file(self.path)
        except (OSError, SafetensorError) as error:
            raise _unreadable(self.path, error) from error
        return tensors


def save_weights(
    folder: Path,
    config: VAEConfig,
    state: dict[str, Tensor],
    contract: InputContract,
    statistics: LatentStatistics | None = None,
) -> None:
    """Write the folder of weights, complete or not at all.

    `statistics` are of the latents of exactly these weights; None if they were not measured.
    """
    description: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "architecture": dataclasses.asdict(config),
        "contract": contract.describe(),
    }
    if config.plugins:
        description["plugins"] = config.plugins
    if statistics is not None:
        description[LATENTS] = statistics.describe()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    parameters = [v for name, v in tensors.items() if name.split(".")[-1] not in BUFFERS]
    card = model_card(config, contract, statistics, sum(v.numel() for v in parameters))
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG_FILE, description)
        write_text(temporary / CARD_FILE, card)
        save_file(tensors, temporary / TENSOR_FILE)


def fingerprint(config: VAEConfig, state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of an architecture and its tensors, in hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
    for name in sorted(state):
        values = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_weights(folder: Path) -> Weights:
    """Read the description and the header of a folder of `save_weights`, but no tensor.

    No string in it is ever imported.

    Raises:
        RunError: the weights are missing, damaged, or of a newer format.
    """
    description = _read_description(folder)
    path = folder / CONFIG_FILE
    return Weights(
        folder / TENSOR_FILE,
        description["architecture"],
        _contract(path, description.get("contract", {})),
        _shapes(folder / TENSOR_FILE),
        _typed(path, LatentStatistics | None, description.get(LATENTS), LATENTS),
        tuple(_typed(path, list[str], description.get("plugins", []), "plugins")),
    )


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        description = read_json(path)
    except FileNotFoundError:
        raise RunError(f"{folder}: no weights here ({CONFIG_FILE} is missing)") from None
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from error
    if not isinstance(description, dict) or "architecture" not in description:
        raise RunError(f"{path}: not a description of vae3d weights")
    if description.get("format_version") != FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version must be {FORMAT_VERSION}, "
            f"got {description.get('format_version')!r:.60}; a newer vae3d may have written it"
        )
    return description


def _contract(path: Path, values: Any) -> InputContract:
    if not isinstance(values, dict):
        raise RunError(f"{path}: contract must be a table")
    try:
        return InputContract.from_json(values)
    except (ConfigError, TypeError) as error:  # a TypeError of the dataclass if a key is missing
        raise RunError(f"{path}: contract: {error}") from error


def _typed(path: Path, hint: Any, values: Any, key: str) -> Any:
    try:
        return from_plain(hint, values, key)
    except ConfigError as error:
        raise RunError(f"{path}: {error}") from error
    except TypeError as error:  # raised by the dataclass if a key is missing
        raise RunError(f"{path}: {key}: {error}") from error


def _shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise RunError(f"{path}: its header has {size} bytes, the limit is {MAX_HEADER_BYTES}")
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: cannot be loaded: {' '.join(str(error).split())}")
