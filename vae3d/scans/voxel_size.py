"""The voxel size of files that state none."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vae3d.errors import ConfigError
from vae3d.runtime.choices import READERS
from vae3d.scans.formats import is_sized
from vae3d.scans.volume import Volume
from vae3d.values.identity import ScanIdentity

log = logging.getLogger(__name__)


def check_voxel_size(
    paths: Sequence[Path], spacing: Any, voxel: Any, reader: int | None = None
) -> None:
    """Check that scans to resample have a voxel size, and report one that is not used.

    `spacing` and `voxel` are the settings of these names. Readers of version 1 take the voxels of
    files without a size for 1 mm.

    Raises:
        ConfigError: some scans have no voxel size.
    """
    unsized = [path for path in paths if not is_sized(path)]
    if voxel is not None and not unsized:
        log.warning("data.voxel is not used: the files of all scans state their own voxel size")
    if spacing is not None and voxel is None and unsized and reader != READERS[0]:
        raise ConfigError(
            f"{len(unsized)} of {len(paths)} scans state no voxel size, which resampling needs "
            f"(first: {unsized[0]}); set data.voxel=[D,H,W], their millimetres per voxel, or "
            "data.spacing=null"
        )


def with_voxel_size(volume: Volume, path: Path, sides: Sequence[float]) -> Volume:
    """Return the volume of a file with voxels of these sides (mm) if the file states none."""
    if is_sized(path):
        return volume
    scale = np.diag([*sides, 1.0])
    affine, source = volume.affine @ scale, volume.source
    if source is not None:
        source = replace(source, affine=source.affine @ scale)
    identity = ScanIdentity.of(volume.data.numpy(), affine)
    return replace(volume, affine=affine, source=source, identity=identity)
