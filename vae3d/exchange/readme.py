"""`readme`: how to use exported weights, as Markdown with code that runs in their folder."""

import math
import re
from typing import Any

from vae3d.autoencoder.card import AXES, CLIPPED, RANGES
from vae3d.autoencoder.vae import CustomVAE
from vae3d.exchange.facts import FACTS_FILE, PADDING, input_range, least_size
from vae3d.exchange.programs import FORMATS
from vae3d.exchange.to_monai import MonaiNetwork
from vae3d.values.intensity import IntensityContract

NEEDS = {
    "monai": "pip install monai safetensors",
    "torch": "pip install torch numpy",
    "onnx": "pip install onnxruntime numpy",
}
LOAD = {
    "monai": """\
import torch
from {module} import {name}
{reader}
facts = json.loads(Path("export.json").read_text())
model = {name}(**facts["network"]["arguments"])
model.load_state_dict({load})
model.eval()
""",
    "torch": """\
import torch

facts = json.loads(Path("export.json").read_text())
encoder = torch.export.load("encoder.pt2").module()
decoder = torch.export.load("decoder.pt2").module()
""",
    "onnx": """\
import onnxruntime

facts = json.loads(Path("export.json").read_text())
encoder = onnxruntime.InferenceSession("encoder.onnx")
decoder = onnxruntime.InferenceSession("decoder.onnx")
""",
}
RUN = {
    "monai": """\
with torch.no_grad():
    mean, sigma = model.encode(torch.from_numpy(image))
    reconstruction = model.decode(mean).numpy()
""",
    "torch": """\
with torch.no_grad():
    mean, logvar = encoder(torch.from_numpy(image))
    reconstruction = decoder(mean).numpy()
""",
    "onnx": """\
mean, logvar = encoder.run(None, {"image": image})
reconstruction = decoder.run(None, {"latent": mean})[0]
""",
}
SCAN = """
scan = np.random.default_rng(0).normal(size={shape}).astype(np.float32)  # yours
low, high = {range}
image = (np.clip(scan, low, high) - low) / (high - low){scale}
image = image.astype(np.float32)
"""
PAD = """
factor = facts["input"]["factor"]
ends = [(0, -n % f) for n, f in zip(scan.shape[2:], factor)]
image = np.pad(image, [(0, 0), (0, 0), *ends], mode="edge")
"""
CROP = """
box = tuple(slice(n) for n in scan.shape)
reconstruction = {cropped} * (high - low) + low
"""
NORMAL = """
latent = facts["latent"]
normal = (mean - latent["shift_factor"]) * latent["scaling_factor"]  # for a diffusion model
mean = normal / latent["scaling_factor"] + latent["shift_factor"]  # what the decoder takes
"""
ON_A_GPU = """
On a GPU: `from torch.export.passes import move_to_device_pass`, and
`torch.export.load("encoder.pt2")` becomes
`move_to_device_pass(torch.export.load("encoder.pt2"), "cuda")`.
"""


def readme(model: CustomVAE, request: dict[str, Any], network: MonaiNetwork | None) -> str:
    """Return the page of an export. It names nothing that is private, and no text of the weights.

    `request` is that of `export_facts`.
    """
    to = request["to"]
    facts = "\n".join(f"* {name}: {value}" for name, value in _facts(model, to).items())
    titles = {"monai": "in MONAI", "torch": "as graphs of torch.export", "onnx": "as ONNX"}
    return (
        f"# A variational autoencoder {titles[to]}\n\n{facts}\n\n"
        f"{_files(request, network)}\n\n"
        f"`{NEEDS[to]}`, and in this folder:\n\n"
        f"```python\n{_code(model, request, network)}```\n"
        f"{ON_A_GPU * (to == 'torch')}\n"
        f"`{FACTS_FILE}` holds all of this for programs. Written by vae3d, which compared these "
        "files with its own network.\n"
    )


def _facts(model: CustomVAE, to: str) -> dict[str, str]:
    config, intensity, spacing = model.config, model.contract.intensity, model.contract.spacing
    axes = ", ".join(("B", str(config.in_channels), *AXES[config.dims]))
    low, high = input_range(model, to)
    least = " x ".join(map(str, least_size(model, to)))
    clipped = intensity and CLIPPED[intensity.kind].format(
        low=f"{intensity.low:g}", high=f"{intensity.high:g}", unit=_unit(intensity)
    ).replace("[-1, 1]", f"[{low:g}, {high:g}]")
    statistics = model.statistics
    facts = {
        "Input": f"float32 ({axes}) in [{low:g}, {high:g}], at least {least} voxels",
        "Intensity": clipped,
        "Spacing": spacing and f"{' x '.join(f'{side:g}' for side in spacing)} mm",
        "Latent": f"{config.latent_channels} channels, a voxel for "
        f"{' x '.join(map(str, config.factor))} voxels",
        "Other sizes": PADDING["monai" if to == "monai" else "graph"],
        "Noise": NOISE["monai" if to == "monai" else "graph"],
        "Latent statistics": statistics and statistics.text,
    }
    return {name: value for name, value in facts.items() if value}


NOISE = {
    "monai": "`encode` returns mean and standard deviation; a sample is mean + std * noise",
    "graph": "none is drawn; a sample is mean + exp(logvar / 2) * noise",
}


def _files(request: dict[str, Any], network: MonaiNetwork | None) -> str:
    if network is None:
        suffix = FORMATS[request["to"]].suffix
        outputs = "`mean` and `logvar`"
        return (
            f"`encoder{suffix}` maps `image` to {outputs}, `decoder{suffix}` maps `latent` to "
            "`image`, for any batch and size."
        )
    return f"The tensors are those of `{network.name}`, the arguments are in `{FACTS_FILE}`."


def _code(model: CustomVAE, request: dict[str, Any], network: MonaiNetwork | None) -> str:
    to, intensity = request["to"], model.contract.intensity
    low, _ = input_range(model, to)
    values: dict[str, str] = {}
    if network is not None:
        module, _, name = network.name.rpartition(".")
        is_pt = request["tensors"] == "pt"
        values = {
            "module": module,
            "name": name,
            "reader": "" if is_pt else "from safetensors.torch import load_file\n",
            "load": 'torch.load("autoencoder.pt")'
            if is_pt
            else 'load_file("autoencoder.safetensors")',
        }
    limits = "-1, 1" if intensity is None else _limits(intensity)
    # 13 is a size that most factors do not divide.
    sides = [max(13, side + 1) for side in model.factor]
    scan = SCAN.format(
        shape=(2, model.config.in_channels, *sides),
        range=limits,
        scale=" * 2 - 1" if low < 0 else "",
    )
    cropped = "(reconstruction[box] + 1) / 2" if low < 0 else "reconstruction[box]"
    crop = CROP.format(cropped=cropped)
    pad = PAD * (to == "monai" and math.prod(model.factor) > 1)
    normal = NORMAL * (model.statistics is not None)
    head = "import json\nfrom pathlib import Path\n\nimport numpy as np\n"
    load = LOAD[to].format(**values)
    return head + load + scan + pad + "\n" + RUN[to] + crop + normal


def _limits(intensity: IntensityContract) -> str:
    low, high = repr(float(intensity.low)), repr(float(intensity.high))
    return RANGES[intensity.kind].format(low=low, high=high)


def _unit(intensity: IntensityContract) -> str:
    """Return the unit if it is one word; the contract may be of untrusted weights."""
    plain = re.fullmatch(r"[\w/%.-]{1,20}", intensity.unit, re.ASCII)
    return f" {intensity.unit}" if plain else ""
