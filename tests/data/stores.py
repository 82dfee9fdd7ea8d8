"""Scans, and stores of them, for the tests of stores."""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from vae3d.data.build import build_source, open_cases
from vae3d.data.config import ScansConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.stored import StoredCases, resolve_store
from vae3d.logger.console import ProgressBar
from vae3d.store.prepare import Preparation

SILENT = ProgressBar("prepare", shown=False)
SHAPES = [(20, 33, 17), (9, 70, 65), (1, 12, 80), (34, 18, 22), (16, 16, 16), (7, 7, 7)]


def write_scans(folder: Path, dtype: str = "int16", count: int = 6) -> Path:
    """Write scans of different shapes, each with a bright box in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, shape in enumerate(SHAPES[:count]):
        rng = np.random.default_rng(number)
        voxels = rng.normal(-900, 60, shape[::-1])
        voxels[tuple(slice(n // 3, n // 3 + 4) for n in voxels.shape)] += 1500
        affine = np.diag([-0.8, 0.9, 2.5, 1]) @ np.eye(4)
        image = nibabel.Nifti1Image(voxels.astype(dtype), affine)
        nibabel.save(image, folder / f"case{number}.nii.gz")
    return folder


def preparation(config: ScansConfig, **options: Any) -> Preparation:
    source = build_source(config)
    folder, store_settings = resolve_store(config, source)
    return Preparation(source, store_settings, folder, progress=SILENT, **options)


def contents(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a store, without the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def both(tmp_path: Path, config: Any, **options: Any) -> tuple[StoredCases, LoadedCases]:
    """Return the same data from a store and from their files."""
    stored = open_cases(
        config(root=str(tmp_path / "in"), store=str(tmp_path / "s"), **options), SILENT
    )
    loaded = open_cases(config(root=str(tmp_path / "in"), store=None, **options), SILENT)
    assert isinstance(stored, StoredCases)
    assert isinstance(loaded, LoadedCases)
    return stored, loaded
