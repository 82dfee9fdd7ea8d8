"""Checks of what a catalog states, which may be damaged or made up."""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vae3d.errors import VolumeError
from vae3d.files.plain import from_plain
from vae3d.scans.volume import SourceGeometry, check_affine
from vae3d.store.arrays import MAX_VOXELS, check_file
from vae3d.values.identity import ScanIdentity
from vae3d.values.voxel_statistics import PERCENTILES, VoxelStatistics

DTYPES = ("int16", "float32", "uint8", "int8", "uint16", "int32", "float64", "float16")
"""Types of the voxels of an array; those of scans are the first two."""
TYPES: dict[str, Any] = {
    "case_id": str,
    "source": str,
    "stamp": str,
    "error": str | None,
    "file": str | None,
    "num_bytes": int,
    "digest": str,
    "dtype": str,
    "channels": int,
    "shape": tuple[int, ...],
    "affine": tuple[tuple[float, ...], ...],
    "box": tuple[tuple[int, ...], ...] | None,
    "rank": int | None,
}
"""Types of the plain fields of a record."""
_STATISTICS = {entry.name for entry in fields(VoxelStatistics)}


def checked_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `CaseRecord` from plain values.

    Raises:
        ValueError, KeyError, TypeError, UserError: one is missing, of another type, or impossible.
    """
    typed = {key: from_plain(TYPES[key], values[key], key) for key in TYPES if key in values}
    check_file(typed["case_id"], typed["file"])
    if typed["file"] is not None:
        _check_grid(typed)
    elif typed["error"] is None:
        raise ValueError("neither a file nor an error")
    geometry, statistics = values["geometry"], values["statistics"]
    identity = values.get("identity")
    return {
        **values,
        **typed,
        "geometry": geometry and _geometry(geometry),
        "statistics": checked_statistics(statistics),
        "identity": identity and from_plain(ScanIdentity, identity),
    }


def checked_statistics(values: Mapping[str, Any] | None) -> VoxelStatistics | None:
    """Return the statistics of a record from plain values; None of a case that has none.

    Raises:
        AttributeError, ValueError, TypeError, UserError: one is missing, or of another type.
    """
    if not values:
        return None
    # Later versions may keep more.
    known = {name: value for name, value in values.items() if name in _STATISTICS}
    statistics: VoxelStatistics = from_plain(VoxelStatistics, known)
    if len(statistics.percentiles) != len(PERCENTILES):
        raise ValueError(f"{len(statistics.percentiles)} percentiles")
    return statistics


def shape_of(text: object) -> tuple[int, ...]:
    """Return the shape that a catalog writes as `64x128x128`.

    Raises:
        ValueError: it is none, or too large for a scan.
    """
    shape = tuple(int(side) for side in str(text)[:80].split("x"))
    if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"no scan has the shape {str(text)[:80]!a}")
    return shape


def _check_grid(values: Mapping[str, Any]) -> None:
    shape, axes = values["shape"], len(values["shape"])
    shape_of("x".join(map(str, shape)))
    if values["channels"] < 1 or values["channels"] * math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"no scan has {values['channels']} channels")
    if values["dtype"] not in DTYPES:
        raise ValueError(f"voxels of the type {values['dtype']!a:.40}")
    _check_affine(values["affine"], axes)
    box = values["box"]
    if box is not None and [len(side) for side in box] != [axes, axes]:
        raise ValueError("its foreground has other axes")


def _check_affine(rows: Any, axes: int) -> None:
    affine = np.array(rows, np.float64)
    if affine.shape != (axes + 1, axes + 1):
        raise ValueError(f"its affine has the shape {affine.shape}")
    try:
        check_affine(Path(), affine)
    except VolumeError as error:
        raise ValueError(error.reason) from error


def _geometry(values: Mapping[str, Any]) -> SourceGeometry:
    geometry = SourceGeometry.from_json(dict(values))
    axes = len(geometry.shape)
    shape_of("x".join(map(str, geometry.shape)))
    if geometry.affine.shape != (axes + 1, axes + 1) or not np.isfinite(geometry.affine).all():
        raise ValueError("the affine of its file is damaged")
    return geometry
