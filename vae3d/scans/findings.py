"""What is doubtful about where a scan's file places its voxels, in millimetres."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vae3d.scans.forms import HeaderForms
from vae3d.scans.volume import SourceGeometry

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


def geometry_findings(source: SourceGeometry | None) -> list[GeometryFinding]:
    """Return what is doubtful about the grid of a file; nothing for formats without a grid."""
    if source is None or source.forms is None:
        return []
    found = [*_of_forms(source.forms, source.shape), *_of_affine(source, source.forms)]
    return [GeometryFinding(kind, float(size)) for kind, size in found]


def summarize(cases: Iterable[tuple[str, Iterable[GeometryFinding]]]) -> list[FindingSummary]:
    """Return a summary of each kind that the cases (id, findings) have, in the order of TEXTS."""
    summaries: dict[str, FindingSummary] = {}
    for case_id, findings in cases:
        for finding in findings:
            old = summaries.get(finding.kind) or FindingSummary(finding.kind, 0, 0.0, case_id)
            size = max(old.millimetres, finding.millimetres)
            summaries[finding.kind] = FindingSummary(old.kind, old.scans + 1, size, old.first)
    return [summaries[kind] for kind in TEXTS if kind in summaries]


def _of_forms(forms: HeaderForms, shape: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    """Yield the disagreements within a header, in millimetres."""
    if not forms.sform_code:
        if not forms.qform_code:
            yield "guess", 0.0
        return
    affine, unit = forms.sform_affine, forms.millimetres
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if forms.qform_code:
        other = forms.qform_affine
        if other is None:
            yield "qform", 0.0
            return
        apart = _largest_shift(affine - other, shape)
        if apart > VOXEL_SHARE * sides.min():
            yield "forms", apart * unit
        return
    # Axes of one voxel have no size that shows.
    apart = np.abs(np.abs(forms.pixdim[1:4]) - sides)[: len(shape)]
    if (apart > SIZE_SHARE * sides[: len(shape)]).any():
        yield "pixdim", apart.max() * unit


def _of_affine(source: SourceGeometry, forms: HeaderForms) -> Iterator[tuple[str, float]]:
    """Yield what is unusual about the affine that is used."""
    axes = source.affine[:3, :3]
    sides = np.linalg.norm(axes, axis=0)
    # The rotation nearest to the directions of the axes, from their polar decomposition.
    left, _, right = np.linalg.svd(axes / sides)
    straight = np.eye(4)
    straight[:3, :3] = axes - left @ right * sides
    straight[:3, 3] = -straight[:3, :3] @ (np.array(source.shape) - 1) / 2
    apart = _largest_shift(straight, source.shape)
    if apart > VOXEL_SHARE * sides.min():
        yield "shear", apart
    if forms.unit:
        yield (forms.unit if source.in_millimetres else "ignored"), sides.max()


def _largest_shift(difference: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """Return the largest length of a difference (4, 4) of two affines at a corner of a grid."""
    corners = np.array([*product(*((0, n - 1) for n in shape))], np.float64)
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())
