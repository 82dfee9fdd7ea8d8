"""What is doubtful about where a scan's file places its voxels, in millimetres."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vae3d.values.header_forms import HeaderForms

VOXEL_SHARE = 0.25
"""Smallest disagreement that is reported, as a share of the smallest side of a voxel: quaternions
of float32 place voxels that exactly."""
SIZE_SHARE = 1e-3
"""Smallest relative difference of a voxel's size that is reported."""
TEXTS = {
    "forms": "sform and qform disagree by up to {:.3g} mm; the sform is used",
    "qform": "the qform is no rotation; the sform is used",
    "pixdim": "pixdim and sform disagree by up to {:.3g} mm in the size of a voxel; "
    "the sform is used",
    "guess": "no sform and no qform; left and right are a guess",
    "shear": "the axes are sheared, by up to {:.3g} mm at the corners",
    "metres": "the unit is metres; voxels are up to {:.3g} mm wide",
    "micrometres": "the unit is micrometres; voxels are up to {:.3g} mm wide",
    "ignored": "the unit is not mm, but was read as mm, as earlier versions did; "
    "voxels count as up to {:.3g} mm wide",
}
"""The text of each kind of finding; `{}` is its size in millimetres."""


@dataclass(frozen=True)
class GeometryFinding:
    """A doubt about the geometry of a scan: a key of TEXTS, and its size in millimetres."""

    kind: str
    millimetres: float = 0.0

    def __str__(self) -> str:
        return TEXTS[self.kind].format(self.millimetres)


@dataclass(frozen=True)
class FindingSummary:
    """One kind of finding in several scans: `millimetres` is the largest, `first` a case id."""

    kind: str
    scans: int
    millimetres: float
    first: str

    def text(self, total: int) -> str:
        """Return one line for the user; `total` is the number of all scans."""
        scans = "scan" if total == 1 else "scans"
        finding = GeometryFinding(self.kind, self.millimetres)
        return f"{self.scans} of {total} {scans}: {finding} (first: {self.first})"


def geometry_findings(
    forms: HeaderForms, affine: NDArray[np.float64], shape: tuple[int, ...], applied: bool = True
) -> tuple[GeometryFinding, ...]:
    """Return what is doubtful about the grid of a NIfTI file.

    `affine` (4, 4) maps the indices of the file's `shape` (3,) to millimetres. With `applied`
    False it takes the header's numbers for millimetres, whatever their unit is.
    """
    millimetres = forms.millimetres if applied else 1.0
    found = [
        *_of_forms(forms, shape, millimetres),
        *_of_shear(affine, shape),
        *_of_unit(forms, affine, applied),
    ]
    return tuple(GeometryFinding(kind, float(size)) for kind, size in found)


class FindingCounter:
    """Counts the findings of many scans by kind."""

    def __init__(self) -> None:
        self._summaries: dict[str, FindingSummary] = {}

    def add(self, case_id: str, findings: Iterable[GeometryFinding]) -> None:
        """Count the findings of one scan."""
        for finding in findings:
            kind, size = finding.kind, finding.millimetres
            old = self._summaries.get(kind) or FindingSummary(kind, 0, 0.0, case_id)
            largest = max(old.millimetres, size)
            self._summaries[kind] = FindingSummary(kind, old.scans + 1, largest, old.first)

    @property
    def summaries(self) -> list[FindingSummary]:
        """The summaries of all kinds that were found, in the order of TEXTS."""
        return [self._summaries[kind] for kind in TEXTS if kind in self._summaries]


def _of_forms(
    forms: HeaderForms, shape: tuple[int, ...], millimetres: float
) -> Iterator[tuple[str, float]]:
    """Yield the disagreements within a header."""
    if not forms.sform_code:
        if not forms.qform_code:
            yield "guess", 0.0
        return
    affine = forms.sform_affine
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if forms.qform_code:
        other = forms.qform_affine
        if other is None:
            yield "qform", 0.0
            return
        apart = _largest_shift(affine - other, shape)
        if apart > VOXEL_SHARE * sides.min():
            yield "forms", apart * millimetres
        return
    differences = np.abs(np.abs(forms.pixdim[1:4]) - sides)
    if (differences > SIZE_SHARE * sides).any():
        yield "pixdim", differences.max() * millimetres


def _of_shear(affine: NDArray[np.float64], shape: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """Yield how far the corners are from those of the nearest grid of right angles."""
    axes = affine[:3, :3]
    sides = np.linalg.norm(axes, axis=0)
    # The rotation nearest to the directions of the axes, from their polar decomposition.
    left, _, right = np.linalg.svd(axes / sides)
    difference = np.eye(4)
    difference[:3, :3] = axes - left @ right * sides
    # Both grids have the same centre.
    difference[:3, 3] = -difference[:3, :3] @ (np.array(shape) - 1) / 2
    apart = _largest_shift(difference, shape)
    if apart > VOXEL_SHARE * sides.min():
        yield "shear", apart


def _of_unit(
    forms: HeaderForms, affine: NDArray[np.float64], applied: bool
) -> Iterator[tuple[str, float]]:
    """Yield a unit that is not the millimetre, with the largest side of a voxel."""
    if forms.unit:
        kind = forms.unit if applied else "ignored"
        yield kind, np.linalg.norm(affine[:3, :3], axis=0).max()


def _largest_shift(difference: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the largest length of a difference (4, 4) of two affines at a corner of a grid."""
    corners = np.array([*product(*((0, n - 1) for n in shape))], np.float64)
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())
