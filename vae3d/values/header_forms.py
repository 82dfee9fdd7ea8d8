"""`HeaderForms`: what a NIfTI header states of its grid, to be checked and written back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import ConfigError

MILLIMETRES = {1: 1e3, 3: 1e-3}
"""Millimetres per metre and per micrometre, by the code of `xyzt_units`; all others mean mm."""
UNITS = {1: "metres", 3: "micrometres"}
LARGEST = 1e30
"""Larger numbers cannot be written as float32; no grid has them."""
ROUNDING = -4e-7
"""Lowest square of a quaternion's first number that is a rounding error of float32."""
_SPACE_BITS = 0b111
"""The bits of `xyzt_units` for the unit of space; the others are that of time."""
_QFORM = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SFORM = ("srow_x", "srow_y", "srow_z")


@dataclass(frozen=True)
class HeaderForms:
    """The fields of a NIfTI header that place its voxels in space, in the header's own unit.

    `pixdim` has the handedness and the sizes of a voxel (4), `qform` the quaternion and the offset
    (6), `sform` the rows of the affine (12). `units` is the code of space and time.

    Raises:
        ConfigError: other numbers of numbers.
    """

    sform_code: int
    qform_code: int
    units: int
    pixdim: list[float]
    qform: list[float]
    sform: list[float]

    def __post_init__(self) -> None:
        lengths = (len(self.pixdim), len(self.qform), len(self.sform))
        if lengths != (4, 6, 12):
            raise ConfigError(f"the forms of a header have 4, 6 and 12 numbers, got {lengths}")

    @classmethod
    def of(cls, header: Any) -> "HeaderForms":
        """Return the fields of a header of nibabel; numbers that are not finite become 0."""
        return cls(
            int(header["sform_code"]),
            int(header["qform_code"]),
            int(header["xyzt_units"]),
            _numbers([header["pixdim"][:4]]),
            _numbers([header[name] for name in _QFORM]),
            _numbers([header[name] for name in _SFORM]),
        )

    def set_on(self, header: Any) -> None:
        """Write the fields to a header of nibabel."""
        header["sform_code"], header["qform_code"] = self.sform_code, self.qform_code
        header["xyzt_units"] = self.units
        header["pixdim"][:4] = self.pixdim
        for name, number in zip(_QFORM, self.qform, strict=True):
            header[name] = number
        for name, row in zip(_SFORM, self.sform_affine, strict=False):
            header[name] = row

    @property
    def millimetres(self) -> float:
        """The length of the header's unit in millimetres."""
        return MILLIMETRES.get(self.units & _SPACE_BITS, 1.0)

    @property
    def unit(self) -> str:
        """The header's unit if it is not the millimetre, else an empty string."""
        return UNITS.get(self.units & _SPACE_BITS, "")

    @property
    def sform_affine(self) -> NDArray[np.float64]:
        """The affine (4, 4) of the sform."""
        return np.vstack([np.reshape(self.sform, (3, 4)), [0, 0, 0, 1]])

    @property
    def qform_affine(self) -> NDArray[np.float64] | None:
        """The affine (4, 4) of the qform; None if its quaternion is not valid.

        "Method 2" of nifti1.h.
        """
        (handedness, *sides), (b, c, d, *offset) = self.pixdim, self.qform
        square = 1 - b * b - c * c - d * d
        if square < ROUNDING:
            return None
        a = max(square, 0) ** 0.5
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        affine = np.eye(4)
        affine[:3, :3] = rotation * np.abs(sides) * [1, 1, -1 if handedness < 0 else 1]
        affine[:3, 3] = offset
        return affine


def _numbers(values: list[Any]) -> list[float]:
    # Damaged numbers may be in the form that is not used; JSON cannot hold NaN.
    finite = np.nan_to_num(np.hstack(values).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return [float(number) for number in np.clip(finite, -LARGEST, LARGEST)]
