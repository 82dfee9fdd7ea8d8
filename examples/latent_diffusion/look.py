"""Draws generated scans in three planes, each beside the real scan that is most like it.

    python look.py generated real --output look.png --window -1000 1000

Both are folders of NIfTI files on one grid, as `vae3d decode` writes them. It also tells how near
each generated scan is to a real one, and how near real scans are to each other: a model that
repeats what it was trained on is nearer.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from torch import Tensor

from vae3d.pictures.figures import Picture, Plane, fit, gray, planes
from vae3d.runtime.messages import show_messages
from vae3d.scans.files import read_volume
from vae3d.scans.formats import is_scan
from vae3d.scans.volume import Volume

log = logging.getLogger("vae3d.look")

SIDE = 192
"""Pixels of the longer side of a plane."""


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("generated", type=Path)
    parser.add_argument("real", type=Path)
    parser.add_argument("--output", type=Path, default=Path("look.png"))
    parser.add_argument("--window", type=float, nargs=2, default=(-1000.0, 1000.0))
    return parser.parse_args(arguments)


def volumes(folder: Path) -> list[Volume]:
    """All scans of a folder, in canonical orientation."""
    found = [read_volume(path) for path in sorted(folder.rglob("*")) if is_scan(path)]
    if not found:
        raise SystemExit(f"{folder}: holds no scan")
    return found


def stacked(scans: list[Volume]) -> Tensor:
    """The scans as rows (N, voxels)."""
    return torch.stack([scan.data.float().flatten() for scan in scans])


def cell(plane: Plane, window: tuple[float, float]) -> Picture:
    """A plane in the middle of a black square."""
    image = fit(gray(plane.image, *window), plane.spacing, SIDE)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    top, left = ((SIDE - side) // 2 for side in image.shape[:2])
    square[top : top + image.shape[0], left : left + image.shape[1]] = image
    return square


def row(pair: tuple[Volume, Volume], window: tuple[float, float]) -> Picture:
    """Three planes of a generated scan, a white line, then those of a real one."""
    generated, real = (
        [cell(plane, window) for plane in planes(scan.data[0].float().numpy(), scan.spacing)]
        for scan in pair
    )
    line = np.full((SIDE, 6, 3), 255, np.uint8)
    return np.concatenate([*generated, line, *real], axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws, and tells the distances."""
    show_messages()
    args = parsed(arguments)
    generated, real = volumes(args.generated), volumes(args.real)
    voxels = stacked(real)
    near, which = (torch.cdist(stacked(generated), voxels, p=1) / voxels.shape[1]).min(dim=1)
    among = (torch.cdist(voxels, voxels, p=1) / voxels.shape[1]).fill_diagonal_(torch.inf).amin(1)
    pairs = [(scan, real[n]) for scan, n in zip(generated, which.tolist(), strict=True)]
    iio.imwrite(args.output, np.concatenate([row(pair, tuple(args.window)) for pair in pairs]))
    for (scan, twin), distance in zip(pairs, near.tolist(), strict=True):
        log.info(f"{scan.case_id}: {distance:.1f} from {twin.case_id}, the nearest real one")
    log.info(f"real scans: {among.median():.1f} (median) from the nearest other; {args.output}")


if __name__ == "__main__":
    main()
