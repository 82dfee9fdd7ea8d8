"""A trained model on disk: a folder with `config.json` and `model.safetensors`, no code in it."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.errors import RunError, UserError
from vae3d.model.attention import AttentionSpec
from vae3d.model.levels import LevelSpec
from vae3d.model.vae import CustomVAE, VAEConfig
from vae3d.runtime.files import atomic_folder, write_json

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
TENSOR_FILE = "model.safetensors"


@dataclass(frozen=True)
class Weights:
    """A model and what must be known to use it: `contract` says how scans become its input."""

    model: CustomVAE
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


def load_weights(folder: Path) -> Weights:
    """Reads a folder of `save_weights`.

    The architecture is rebuilt from its typed description; no string in it is ever imported.

    Raises:
        RunError: missing, damaged, of a newer format, or not of this architecture.
    """
    description = _read_description(folder)
    try:
        model = CustomVAE(parse_architecture(description["architecture"]))
    except (UserError, TypeError, KeyError) as error:
        raise RunError(f"{folder / CONFIG_FILE}: no architecture of vae3d: {error}") from error
    try:
        model.load_state_dict(load_file(folder / TENSOR_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).replace("\n", " ")
        raise RunError(f"{folder / TENSOR_FILE}: cannot be loaded: {reason}") from error
    return Weights(model.eval(), description.get("contract", {}))


def parse_architecture(values: dict[str, Any]) -> VAEConfig:
    """A `VAEConfig` from plain JSON values; a key it does not know is a TypeError."""
    levels = [
        LevelSpec(**{**level, "stride": tuple(level["stride"])}) for level in values["levels"]
    ]
    attention = values.get("attention", {})
    if "window" in attention:
        attention = {**attention, "window": tuple(attention["window"])}
    return VAEConfig(**{**values, "levels": levels, "attention": AttentionSpec(**attention)})


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
