"""`Sample`: a latent that a diffusion model generated, as a plain array in a file."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vae3d.errors import DataError
from vae3d.files.npy import map_npy
from vae3d.files.reading import reason_of
from vae3d.latents.file import check_header
from vae3d.scans.nifti import read_channels

NIFTI = (".nii.gz", ".nii")
SUFFIXES = (".npy", ".safetensors", *NIFTI)
NAMES = ("latents", "latent", "samples", "sample", "indices")
"""Names of the tensor to read from a safetensors file with several, the first one first."""


@dataclass(frozen=True)
class Sample:
    """The latent of a file, or latent `number` of a file that holds several.

    `name` is the name of the file without its suffix, followed by the number if there is one.
    """

    name: str
    path: Path
    number: int | None = None

    def read(self) -> tuple[Tensor, NDArray[np.float64] | None]:
        """Read the latent (C, *size) in float32, and the affine of its grid if the file has one.

        Raises:
            DataError: unreadable, or not finite.
        """
        affine = None
        if suffix_of(self.path) in NIFTI:
            volume = read_channels(self.path, case_id=self.name)
            latent, affine = volume.data.float(), volume.affine
        else:
            with _open_array(self.path) as array:
                latent = _to_float32(array[:] if self.number is None else array[self.number])
        if not latent.isfinite().all():
            raise DataError(f"{self.path}: holds values that are not finite")
        return latent, affine


def suffix_of(path: Path) -> str:
    """Return the suffix of SUFFIXES that a file has; empty for hidden and all other files."""
    name = path.name.lower()
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return "" if name.startswith(".") else suffix


def samples_of(path: Path, spatial_dims: int) -> list[Sample]:
    """Return the latents of a file, whose array is one (C, *size) or several (N, C, *size).

    Raises:
        DataError: unreadable, or of another shape.
    """
    stem = path.name[: len(path.name) - len(suffix_of(path))]
    if suffix_of(path) in NIFTI:
        return [Sample(stem, path)]
    with _open_array(path) as array:
        shape = tuple(array.shape if isinstance(array, np.ndarray) else array.get_shape())
    axes_found = len(shape) if 0 not in shape else 0
    if axes_found == spatial_dims + 1:
        return [Sample(stem, path)]
    if axes_found == spatial_dims + 2:
        return [Sample(f"{stem}_{number:04d}", path, number) for number in range(shape[0])]
    axes = "D, H, W" if spatial_dims == 3 else "H, W"
    raise DataError(
        f"{path}: must hold a latent (C, {axes}) or several (N, C, {axes}), got shape {shape}"
    )


@contextlib.contextmanager
def _open_array(path: Path) -> Iterator[Any]:
    """Open the array of a file; its values are read when it is sliced (numpy or safetensors)."""
    try:
        if suffix_of(path) == ".npy":
            array = map_npy(path)
            if array.dtype.kind not in "fiu":
                raise DataError(f"{path}: must hold an array of numbers")
            yield array
            return
        check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file.get_slice(_tensor_name(path, [*file.keys()]))
    except (OSError, ValueError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def _tensor_name(path: Path, names: list[str]) -> str:
    chosen = names if len(names) == 1 else [name for name in NAMES if name in names]
    if not chosen:
        raise DataError(f"{path}: must hold one tensor, or one called {' or '.join(NAMES)}")
    return chosen[0]


def _to_float32(part: Any) -> Tensor:
    values = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part, np.float32))
    return values.to(torch.float32).contiguous()
