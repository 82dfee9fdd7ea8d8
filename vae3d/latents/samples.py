"""`Sample`: a latent that a diffusion model made, as a plain array in a file."""

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
from vae3d.latents.file import check_header
from vae3d.scans.nifti import read_channels

NIFTI = (".nii.gz", ".nii")
SUFFIXES = (".npy", ".safetensors", *NIFTI)
NAMES = ("latents", "latent", "samples", "sample")
"""Of several tensors in a safetensors file the first of these names is taken."""


@dataclass(frozen=True)
class Sample:
    """The latent of a file, or the one of a `number` where it holds several.

    `name` is the file's without its suffix, and the number.
    """

    name: str
    path: Path
    number: int | None = None

    def read(self) -> tuple[Tensor, NDArray[np.float64] | None]:
        """The latent (C, *size) in float32, and the affine of its grid if the file tells one.

        Raises:
            DataError: unreadable, or not finite.
        """
        affine = None
        if suffix_of(self.path) in NIFTI:
            volume = read_channels(self.path, case_id=self.name)
            latent, affine = volume.data.float(), volume.affine
        else:
            with _opened(self.path) as array:
                latent = _in_memory(array[:] if self.number is None else array[self.number])
        if not latent.isfinite().all():
            raise DataError(f"{self.path}: holds values that are not finite")
        return latent, affine


def suffix_of(path: Path) -> str:
    """The suffix of SUFFIXES that a file has; none for hidden files and for others."""
    name = path.name.lower()
    found = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return "" if name.startswith(".") else found


def samples_of(path: Path, spatial_dims: int) -> list[Sample]:
    """The latents of a file: its array is one (C, *size), or several (N, C, *size).

    Raises:
        DataError: unreadable, or of another shape.
    """
    stem = path.name[: len(path.name) - len(suffix_of(path))]
    if suffix_of(path) in NIFTI:
        return [Sample(stem, path)]
    with _opened(path) as array:
        shape = tuple(array.shape if isinstance(array, np.ndarray) else array.get_shape())
    if len(shape) == spatial_dims + 1:
        return [Sample(stem, path)]
    if len(shape) == spatial_dims + 2 and shape[0]:
        return [Sample(f"{stem}_{number:04d}", path, number) for number in range(shape[0])]
    axes = "D, H, W" if spatial_dims == 3 else "H, W"
    raise DataError(
        f"{path}: must hold a latent (C, {axes}) or several (N, C, {axes}), got shape {shape}"
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The array of a file, on the disk until it is cut: of numpy, or a slice of safetensors."""
    try:
        if suffix_of(path) == ".npy":
            # A map of a file that is shorter than its header says fails before memory is taken.
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
                raise DataError(f"{path}: must hold an array of numbers")
            yield array
            return
        check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file.get_slice(_chosen(path, [*file.keys()]))
    except (OSError, ValueError, EOFError, SyntaxError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read ({reason})") from error


def _chosen(path: Path, names: list[str]) -> str:
    chosen = names if len(names) == 1 else [name for name in NAMES if name in names]
    if not chosen:
        raise DataError(f"{path}: must hold one tensor, or one called {' or '.join(NAMES)}")
    return chosen[0]


def _in_memory(part: Any) -> Tensor:
    values = part if isinstance(part, Tensor) else torch.from_numpy(np.array(part, np.float32))
    return values.to(torch.float32).contiguous()
