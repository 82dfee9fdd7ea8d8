"""Scans, and the commands that encode, decode and reconstruct them, for the tests of outputs."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from vae3d.commands.decode import DecodeConfig
from vae3d.commands.decode_run import decode
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.reconstruct_run import reconstruct

# Oblique, with swapped and reversed axes, as scanners write them.
AFFINES = [
    np.diag([-0.7, -0.8, 2.5, 1.0]),
    np.array([[0, 0.9, 0.1, -40], [-0.8, 0, 0, 31], [0.05, 0, 2.0, 7], [0, 0, 0, 1.0]]),
    np.array([[0.9, 0, 0, 5], [0, 0, -1.1, 80], [0, 1.3, 0, -9], [0, 0, 0, 1.0]]),
]
SHAPES = [(11, 14, 17), (9, 16, 12), (10, 10, 13)]


def scans_of(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for number, (shape, affine) in enumerate(zip(SHAPES, AFFINES, strict=True)):
        array = draw.integers(-900, 900, shape).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, affine), folder / f"{number}.nii.gz")
    return folder


def forget_statistics(run: Path) -> None:
    """Remove the latent statistics from the best weights of a run."""
    path = run / "weights/best/config.json"
    values = json.loads(path.read_text())
    del values["latents"]
    path.write_text(json.dumps(values))


def encoded(run: Path, name: str = "latents", **changes: Any) -> Path:
    place = str(run.parent / name)
    return encode(EncodeConfig(run=str(run), output=place, device="cpu", **changes))


def decoded(run: Path, given: Path, name: str = "decoded", **changes: Any) -> Path:
    place = str(run.parent / name)
    return decode(
        DecodeConfig(run=str(run), input=str(given), output=place, device="cpu", **changes)
    )


def reconstructed(run: Path, given: Path, name: str = "again", **changes: Any) -> Path:
    place = str(run.parent / name)
    return reconstruct(
        ReconstructConfig(run=str(run), input=str(given), output=place, device="cpu", **changes)
    )


def contents(folder: Path) -> dict[str, bytes]:
    """The files of an output but for the record of what wrote them, which names their place."""
    files = (path for path in folder.iterdir() if path.name != ".finished")
    return {path.name: path.read_bytes() for path in files}
