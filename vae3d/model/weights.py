"""A trained model on disk: a folder with `config.json` and `model.safetensors`, no code in it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.errors import RunError
from vae3d.model.config import VAEConfig
from vae3d.runtime.files import atomic_folder, write_json

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"


@dataclass(frozen=True)
class Weights:
    """What a folder holds: the architecture as plain values, its tensors, and the contract."""

    architecture: dict[str, Any]
    state: dict[str, Tensor]
    contract: dict[str, Any]


def save_weights(
    folder: Path,
    config: VAEConfig,
    state: dict[str, Tensor],
    contract: dict[str, Any],
) -> None:
    """Writes the folder as a whole; `contract` is any JSON (intensity, spacing)."""
    description = {
        "format_version": FORMAT_VERSION,
        "architecture": dataclasses.asdict(config),
        "contract": contract,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG_FILE, description)
        save_file(tensors, temporary / TENSOR_FILE)


def read_weights(folder: Path) -> Weights:
    """Reads a folder of `save_weights`; no string in it is ever imported.

    Raises:
        RunError: missing, damaged, or of a newer format.
    """
    description = _read_description(folder)
    try:
        state = load_file(folder / TENSOR_FILE)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{folder / TENSOR_FILE}: cannot be loaded: {reason}") from error
    return Weights(description["architecture"], state, description.get("contract", {}))


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder}: no weights here ({CONFIG_FILE} is missing)") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not isinstance(description, dict) or "architecture" not in description:
        raise RunError(f"{path}: not a description of vae3d weights")
    if description.get("format_version") != FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version must be {FORMAT_VERSION}, "
            f"got {description.get('format_version')}; a newer vae3d may have written it"
        )
    return description
