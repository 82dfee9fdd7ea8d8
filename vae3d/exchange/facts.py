"""`export.json`: what another program needs to know of exported weights."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae3d.autoencoder.card import AXES
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import RunError
from vae3d.exchange.to_monai import MonaiNetwork
from vae3d.files.plain import from_plain, read_json
from vae3d.values.latent_statistics import NAMES
from vae3d.version import __version__

FACTS_FILE, README_FILE = "export.json", "README.md"
FORMAT_VERSION = 1
PADDING = {
    "monai": (
        "pad images with their last voxels to multiples of factor, and crop reconstructions to "
        "the size of the image; MONAI does not, and cuts off what is left over"
    ),
    "graph": (
        "the encoder pads images with their last voxels to multiples of factor; the decoder "
        "returns such a multiple: crop it to the size of the image"
    ),
}
"""What becomes of sizes that the factor does not divide."""


@dataclass(frozen=True)
class ExportRecord:
    """What `export.json` holds of how it came to be: the request, and the files."""

    format_version: int
    request: dict[str, Any]
    files: dict[str, Any] = field(default_factory=dict)


def read_facts(folder: Path) -> ExportRecord:
    """Return the record of an export.

    Raises:
        ConfigError: it is damaged.
        OSError: there is none.
        RunError: a newer version wrote it.
    """
    values = from_plain(dict[str, Any], read_json(folder / FACTS_FILE), FACTS_FILE)
    own = {f.name: values[f.name] for f in dataclasses.fields(ExportRecord) if f.name in values}
    if own.get("format_version") != FORMAT_VERSION:
        raise RunError(f"{folder / FACTS_FILE}: format_version must be {FORMAT_VERSION}")
    record: ExportRecord = from_plain(ExportRecord, own, FACTS_FILE)
    return record


def export_facts(
    model: CustomVAE,
    request: dict[str, Any],
    network: MonaiNetwork | None,
    differences: dict[str, float | None],
) -> dict[str, Any]:
    """Return the plain values of `export.json`.

    `request` holds the target and the SHA-256 of the weights. `differences` are by file, None if
    its output was not compared.
    """
    config, contract, origin = model.config, model.contract, model.origin
    statistics = model.statistics
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"vae3d {__version__}",
        "request": request,
        "files": {name: {"difference": value} for name, value in differences.items()},
        "network": network and {"class": network.name, "arguments": network.arguments},
        "input": {
            "axes": ["B", "C", *AXES[config.dims]],
            "orientation": None if config.dims == 2 else ORIENTATION,
            "channels": config.in_channels,
            "range": input_range(model, request["to"]),
            "intensity": contract.intensity and contract.intensity.describe(),
            "spacing_mm": contract.spacing and [*contract.spacing],
            "factor": [*config.factor],
            "least_size": least_size(model, request["to"]),
            "padding": PADDING["monai" if request["to"] == "monai" else "graph"],
            "number_type": "float32",
        },
        "latent": {
            "channels": config.latent_channels,
            **{name: statistics and getattr(statistics, name) for name in NAMES},
        },
        "origin": origin and dataclasses.asdict(origin),
    }


ORIENTATION = "D counts axial slices upwards, H goes to the front, W to the right of the patient"
"""The canonical orientation: RAS+ with the axes reversed."""


def input_range(model: CustomVAE, to: str) -> list[float]:
    """Return the range of images that the exported network expects and returns."""
    return [0.0, 1.0] if to == "monai" and model.config.unit_range else [-1.0, 1.0]


def least_size(model: CustomVAE, to: str) -> list[int]:
    """Return the smallest image along each axis: graphs of torch.export need two latent voxels."""
    return [side + 1 if to == "torch" else 1 for side in model.factor]
