"""`model_card`: the `README.md` of a folder of weights, made from their description."""

import math
import re
from typing import Any

from vae3d.autoencoder.description import Origin
from vae3d.model.config import VAEConfig
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.values.latent_statistics import LatentStatistics

PLACEHOLDER = "FOLDER"
"""The folder's name in the card, which does not depend on where the weights are stored."""
AXES = {2: ("H", "W"), 3: ("D", "H", "W")}
CLIPPED = {
    "window": "{low} to {high}{unit}, clipped and scaled to [-1, 1]",
    "percentiles": "each scan's percentiles {low} to {high}, clipped and scaled to [-1, 1]",
}
RANGES = {
    "window": "{low}, {high}",
    "percentiles": "np.percentile(scan, [{low}, {high}]).tolist()",
}

IMPORTS = {"window": "", "percentiles": "import numpy as np\n"}
LOAD = """\
import torch
from vae3d import CustomVAE

model = CustomVAE.from_pretrained("{place}")
"""
IMAGE = """\
image = torch.rand({shape}) * 2 - 1  # yours, in [-1, 1]
"""
SCAN = """\
scan = torch.randn({shape})  # {yours}
low, high = {range}
image = (scan.clamp(low, high) - low) / (high - low) * 2 - 1
"""
CODE = """\
with torch.no_grad():
    latent = model.encode(image).mode()
    reconstruction = model.decode(latent, image.shape[2:]).clamp(-1, 1)
"""
UNITS = """\
reconstruction = (reconstruction + 1) / 2 * (high - low) + low
"""
NORMAL = """
normal = model.statistics.normalised(latent, axis=1)  # of mean 0 and deviation 1
latent = model.statistics.restored(normal, axis=1)  # what decode takes
"""


def model_card(
    config: VAEConfig,
    contract: InputContract,
    statistics: LatentStatistics | None,
    parameters: int,
    origin: Origin | None = None,
) -> str:
    """Return Markdown with the hub's front matter, the same for the same weights.

    It contains no name of a run or case, no path and no time. From the contract it takes only
    numbers and a one-word unit, because the contract may come from untrusted weights. Of the
    `origin` it states what the training started from: a name of the hub, a licence, a SHA-256.
    """
    ancestors = origin.started_from if origin else ()
    started = {"Started from": ", which started from ".join(a.text for a in ancestors)}
    facts = "\n".join(
        f"* {name}: {value}"
        for name, value in {
            **_facts(config, contract, statistics, parameters),
            **(started if ancestors else {}),
        }.items()
    )
    hub = ancestors[0].hub.partition("@")[0] if ancestors else ""
    base = f"base_model: {hub}\n" if hub else ""
    tags = "\n".join(f"- {tag}" for tag in ("vae", "medical-imaging", f"{config.dims}d"))
    what = {2: "2D images", 3: "3D scans"}[config.dims]
    return (
        f"---\nlibrary_name: vae3d\n{base}tags:\n{tags}\n---\n\n"
        f"# A variational autoencoder for {what}\n\n{facts}\n\n"
        f"```python\n{_code(config, contract.intensity, statistics)}```\n\n"
        f'"{PLACEHOLDER}" is this folder, or "owner/name" on the Hugging Face hub '
        "(`pip install 'vae3d[hub]'`).\n"
    )


def _facts(
    config: VAEConfig,
    contract: InputContract,
    statistics: LatentStatistics | None,
    parameters: int,
) -> dict[str, str]:
    axes = AXES[config.dims]
    intensity, spacing = contract.intensity, contract.spacing
    compression = math.prod(config.factor) * config.in_channels / config.latent_channels
    facts = {
        "Input": f"({', '.join(('B', str(config.in_channels), *axes))}) of any size in [-1, 1]",
        "Intensity": intensity and CLIPPED[intensity.kind].format(**_values(intensity)),
        "Spacing": spacing and f"{_sides(spacing)} mm along ({', '.join(axes)})",
        "Latent": f"{config.latent_channels} channels, a voxel for {_sides(config.factor)} voxels",
        "Compression": f"{compression:g} numbers of the image for one of the latent",
        "Parameters": f"{parameters:,}",
        "Latent statistics": statistics
        and f"{statistics.text}: the ones to use; of each channel in `config.json`",
    }
    return {name: value for name, value in facts.items() if value}


def _values(intensity: IntensityContract) -> dict[str, str]:
    """Return the values for the templates: plain numbers, and a unit if it is one word."""
    plain = re.fullmatch(r"[\w/%.-]{1,20}", intensity.unit, re.ASCII)
    unit = f" {intensity.unit}" if plain else ""
    return {"low": _number(intensity.low), "high": _number(intensity.high), "unit": unit}


def _code(
    config: VAEConfig, intensity: IntensityContract | None, statistics: LatentStatistics | None
) -> str:
    shape = ", ".join(map(str, (1, config.in_channels, *([64] * config.dims))))
    if intensity is None:
        code = LOAD + IMAGE + CODE + NORMAL * bool(statistics)
        return code.format(place=PLACEHOLDER, shape=shape)
    code = IMPORTS[intensity.kind] + LOAD + SCAN + CODE + UNITS + NORMAL * bool(statistics)
    values = _values(intensity)
    return code.format(
        place=PLACEHOLDER,
        shape=shape,
        yours=f"yours, in{values['unit']}" if values["unit"] else "yours",
        range=RANGES[intensity.kind].format(**values),
    )


def _sides(values: Any) -> str:
    return " x ".join(_number(value) for value in values)


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))
