"""Weights of MONAI's AutoencoderKL or MAISI's as a folder that vae3d loads.

    python scripts/import_monai.py autoencoder_v1.pt weights/maisi --window -1000 1000 --unit-range

The file is a state dict, or holds one, as .pt (read with weights_only) or .safetensors. Its
network saw images in [0, 1] (`--unit-range`, as MAISI's does) or in [-1, 1], as vae3d's do.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vae3d.autoencoder.description import Origin
from vae3d.autoencoder.monai import from_monai
from vae3d.errors import RunError, UserError
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.version import __version__

MAX_DEPTH = 8
"""How deep in dicts the weights may lie; a dict can hold itself."""


def main() -> int:
    """Reads, converts, writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--window", type=float, nargs=2, help="HU that the network's range spans")
    parser.add_argument("--percentiles", type=float, nargs=2, help="or percentiles, for MR")
    parser.add_argument("--spacing", type=float, nargs=3, help="(D, H, W) in mm, if it needs one")
    parser.add_argument("--norm-groups", type=int, default=32)
    parser.add_argument("--head-channels", type=int)
    parser.add_argument("--unit-range", action="store_true")
    arguments = parser.parse_args()
    try:
        model = from_monai(
            read(arguments.file),
            norm_groups=arguments.norm_groups,
            head_channels=arguments.head_channels,
            unit_range=arguments.unit_range,
        )
    except UserError as error:
        sys.stderr.write(f"{arguments.file}: {error}\n")
        return error.exit_code
    spacing = arguments.spacing and tuple(arguments.spacing)
    model.contract = InputContract(intensity(arguments), spacing)
    model.origin = Origin("import_monai.py", __version__)
    model.save_pretrained(arguments.folder)
    count = sum(p.numel() for p in model.parameters())
    sys.stdout.write(f"{count:,} parameters, factor {model.factor}: {arguments.folder}\n")
    return 0


def read(path: Path) -> dict[str, Tensor]:
    """The state dict of a file; one that lies inside another dict is found.

    Raises:
        RunError: damaged, no state dict, or larger than its file.
    """
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives and pickles raise whatever they stumble over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"cannot be loaded: {reason:.200}") from error
    tensors = {name: value for name, value in state_dict(found).items() if type(value) is Tensor}
    # A tensor of one number and no strides can be of any shape.
    if sum(value.nbytes for value in tensors.values()) > path.stat().st_size:
        raise RunError("cannot be loaded: its tensors are larger than the file")
    return {name: value.float() for name, value in tensors.items()}


def state_dict(found: Any) -> dict[str, Any]:
    """The dict with the weights, or the first dict in which there is no other.

    Raises:
        RunError: there is none.
    """
    for _ in range(MAX_DEPTH):
        if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
            break
        inner = [value for value in found.values() if isinstance(value, dict)]
        if "quant_conv_mu.conv.weight" in found or not inner:
            return found
        found = inner[0]
    raise RunError("cannot be loaded: it holds no state dict")


def intensity(arguments: argparse.Namespace) -> IntensityContract:
    """The intensity contract."""
    if arguments.percentiles:
        low, high = arguments.percentiles
        return IntensityContract("percentiles", low, high, "intensity")
    low, high = arguments.window or (-1000.0, 1000.0)
    return IntensityContract("window", low, high, "HU")


if __name__ == "__main__":
    sys.exit(main())
