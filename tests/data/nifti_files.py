"""Small scans, and files as no library would write them, for the tests of readers."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

VOXELS = np.random.default_rng(0).integers(-1000, 2000, (9, 12, 7)).astype(np.int16)


def save_scan(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray | None = None) -> Path:
    kind = nibabel.Nifti1Image
    kind(voxels, np.eye(4) if affine is None else affine, dtype=voxels.dtype).to_filename(path)
    return path


def raw_file(path: Path, edit: Callable[[Any], None], body: bytes = VOXELS.tobytes("F")) -> Path:
    """Write a file with a header changed by `edit`, as no library would write it."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(VOXELS.shape)
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.eye(4), code=1)
    edit(header)
    content = header.structarr.tobytes() + bytes(4) + body
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
