"""Weights of MONAI's AutoencoderKL or MAISI's as a folder that vae3d loads.

    python scripts/import_monai.py autoencoder_v1.pt weights/maisi --window -1000 1000 --unit-range

The file is a state dict, or holds one, as .pt (read with weights_only) or .safetensors. Its
network saw images in [0, 1] (`--unit-range`, as MAISI's does) or in [-1, 1], as vae3d's do.
"""

import argparse
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from vae3d.errors import UserError
from vae3d.model.monai import from_monai


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
    model.contract = {"intensity": intensity(arguments), "spacing": arguments.spacing}
    model.save_pretrained(arguments.folder)
    count = sum(p.numel() for p in model.parameters())
    sys.stdout.write(f"{count:,} parameters, factor {model.factor}: {arguments.folder}\n")
    return 0


def read(path: Path) -> dict[str, Tensor]:
    """The state dict of a file; one that lies inside another dict is found."""
    if path.suffix == ".safetensors":
        stored: dict[str, Tensor] = load_file(path)
        return stored
    found = torch.load(path, map_location="cpu", weights_only=True)
    while "quant_conv_mu.conv.weight" not in found:
        inner = [value for value in found.values() if isinstance(value, dict)]
        if not inner:
            break
        found = inner[0]
    return {name: value.float() for name, value in found.items() if isinstance(value, Tensor)}


def intensity(arguments: argparse.Namespace) -> dict[str, object]:
    """The intensity contract."""
    if arguments.percentiles:
        low, high = arguments.percentiles
        return {"kind": "percentiles", "low": low, "high": high, "unit": "intensity"}
    low, high = arguments.window or (-1000.0, 1000.0)
    return {"kind": "window", "low": low, "high": high, "unit": "HU"}


if __name__ == "__main__":
    sys.exit(main())
