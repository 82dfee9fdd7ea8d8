"""`Volume`: an image with its affine to world coordinates, and what makes it usable."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import VolumeError
from vae3d.values.geometry_findings import GeometryFinding, geometry_findings
from vae3d.values.header_forms import HeaderForms
from vae3d.values.identity import ScanIdentity

MAX_MILLIMETRES = 1e6
"""Largest distance of a voxel from the origin (1 km): no scan is larger, and squares overflow."""


@dataclass(frozen=True)
class SourceGeometry:
    """The grid of the file that a volume was read from, needed to write results onto it.

    `shape` and `affine` are the file's own, in the file's own axis order; `affine` maps voxel
    indices to RAS millimetres. `dtype` is the numpy name of the voxels' type on disk. If the
    header scales them to other units, it is a type that can hold the scaled values. `forms` are
    the fields of a NIfTI header, None for other formats and in stores of earlier versions, and
    `findings` what is doubtful about them.
    """

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: str
    forms: HeaderForms | None = None
    findings: tuple[GeometryFinding, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the geometry as plain values for a JSON file."""
        values: dict[str, Any] = {
            "path": str(self.path),
            "shape": list(self.shape),
            "affine": self.affine.tolist(),
            "dtype": self.dtype,
        }
        if self.forms is not None:
            values |= {"forms": asdict(self.forms), "findings": [*map(asdict, self.findings)]}
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SourceGeometry":
        """Return the geometry that `describe` turned into plain values."""
        return cls(
            Path(values["path"]),
            tuple(values["shape"]),
            np.array(values["affine"], np.float64),
            values["dtype"],
            HeaderForms(**values["forms"]) if "forms" in values else None,
            tuple(GeometryFinding(**finding) for finding in values.get("findings", ())),
        )


@dataclass(frozen=True)
class Volume:
    """An image (C, D, H, W), or (C, H, W) in 2D, in the scan's own units.

    Inside vae3d every scan is stored in one canonical orientation: D runs from inferior to
    superior, H from posterior to anterior, W from left to right (RAS+ with the axes reversed, so
    that D counts axial slices). `affine` is (n+1, n+1) and maps indices (d, h, w) of `data` to
    RAS millimetres (x, y, z); `data` is int16 where the file's integers fit, else float32.
    `identity` is that of the scan as it was read; resampling and filling keep it.
    """

    data: Tensor
    affine: NDArray[np.float64]
    case_id: str
    source: SourceGeometry | None = None
    identity: ScanIdentity | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the spatial axes, without channels."""
        return tuple(self.data.shape[1:])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Size of a voxel along each axis of `data`, in millimetres."""
        return spacing_of(self.affine)

    @property
    def origin(self) -> str:
        """The path of the file it was read from, else the name of its case; errors name it."""
        return str(self.source.path) if self.source else self.case_id


def without_unit(volume: Volume) -> Volume:
    """Return the volume with the numbers of its NIfTI header taken for millimetres."""
    source = volume.source
    if source is None or source.forms is None or source.forms.millimetres == 1:
        return volume
    scale = np.diag([*(1 / source.forms.millimetres,) * 3, 1.0])
    affine = scale @ source.affine
    findings = geometry_findings(source.forms, affine, source.shape, applied=False)
    source = replace(source, affine=affine, findings=findings)
    return replace(volume, affine=scale @ volume.affine, source=source)


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the size of a voxel along each axis of an affine (n+1, n+1), in millimetres."""
    return tuple(float(s) for s in np.linalg.norm(affine[:-1, :-1], axis=0))


def check_affine(path: Path, affine: NDArray[np.float64]) -> None:
    """Check that an affine (n+1, n+1) is finite, within 1 km and invertible.

    Raises:
        VolumeError: it is not.
    """
    # Written as `not <`, since a comparison with NaN is false.
    if not (np.abs(affine) < MAX_MILLIMETRES).all():
        reason = "not finite or places voxels further than a kilometre away"
        raise VolumeError(path, f"has an affine that is {reason}; set its sform, qform or unit")
    axes = affine[:-1, :-1]
    if not abs(np.linalg.det(axes)) > 1e-6 * np.linalg.norm(axes, axis=0).prod():
        raise VolumeError(path, "has a singular affine; set its sform or qform")


def checked(volume: Volume, nonfinite: str) -> tuple[Volume, int]:
    """Return the volume if its voxels can be used, and the number of voxels that were filled.

    A volume without an identity gets that of its own voxels.

    With `nonfinite="fill"` voxels that are NaN or infinite get the lowest finite value.

    Raises:
        VolumeError: no finite voxel, some that are not finite (unless filled), or all one value.
    """
    data = volume.data
    if volume.identity is None:
        volume = replace(volume, identity=ScanIdentity.of(data.numpy(), volume.affine))
    nonfinite_voxels = 0
    low, high = data.aminmax()
    # NaN and Inf propagate to the minimum or the maximum: checking these two takes no memory.
    if not (low.isfinite() and high.isfinite()):
        finite = torch.isfinite(data)
        nonfinite_voxels = data.numel() - int(torch.count_nonzero(finite))
        if nonfinite_voxels == data.numel():
            raise VolumeError(volume.origin, "holds no finite voxel")
        if nonfinite == "fail":
            raise VolumeError(
                volume.origin,
                f"{nonfinite_voxels} of {data.numel()} voxels are NaN or Inf; "
                "data.nonfinite=fill replaces them by the scan's lowest value",
            )
        low, high = data[finite].aminmax()
        volume = replace(volume, data=torch.where(finite, data, low))
    if low == high:
        raise VolumeError(volume.origin, f"all voxels have the one value {low.item():g}")
    return volume, nonfinite_voxels
