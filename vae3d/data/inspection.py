"""What a researcher should know of each case before it is trained on, and what is odd about it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vae3d.data.cases import Case, Cases
from vae3d.errors import VolumeError
from vae3d.runtime.choices import SPLITS
from vae3d.scans.orientation import orientation_of

OBLIQUE = 5.0
"""Degrees from the nearest axis of the scanner."""
ANISOTROPIC = 5.0
UNUSUAL = 2.0
"""Times the median spacing of the data set, or its inverse."""


@dataclass
class CaseReport:
    """One case; `odd` says in words what a reader should look at."""

    case_id: str
    split: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    minimum: float = float("nan")
    maximum: float = float("nan")
    filled: int = 0
    orientation: str = ""
    digest: str = ""
    odd: list[str] = field(default_factory=list)
    usable: bool = True

    @property
    def voxels(self) -> int:
        """Voxels of one channel."""
        return int(np.prod(self.shape)) if self.shape else 0


def inspect_cases(cases: Cases, patch: tuple[int, ...] | None) -> list[CaseReport]:
    """Every case, those included that cannot be used; `patch` is the size of patches, if any."""
    reports = []
    for split in SPLITS:
        errors = cases.errors(split, stop=False)
        for index in cases.splits[split].tolist():
            reports.append(
                _failed(cases.case_id(index), split, errors[index])
                if index in errors
                else _inspected(cases[index], split, patch)
            )
    _compare([report for report in reports if report.usable])
    return sorted(reports, key=lambda report: report.case_id)


def _failed(case_id: str, split: str, error: VolumeError) -> CaseReport:
    return CaseReport(case_id, split, odd=[f"cannot be used: {error.reason}"], usable=False)


def _inspected(case: Case, split: str, patch: tuple[int, ...] | None) -> CaseReport:
    found = case.statistics
    report = CaseReport(
        case_id=case.case_id,
        split=split,
        shape=case.shape,
        spacing=case.spacing,
        minimum=found.minimum,
        maximum=found.maximum,
        filled=found.filled,
        digest=found.digest,
    )
    if found.filled:
        report.odd.append(f"{found.filled} voxels were NaN or Inf")
    if case.geometry is not None and len(case.shape) == 3:
        report.orientation, angle = orientation_of(case.geometry.affine)
        if angle > OBLIQUE:
            report.odd.append(f"oblique by {angle:.0f} degrees")
    if max(case.spacing) > ANISOTROPIC * min(case.spacing):
        report.odd.append("voxels are far from cubes")
    if patch and any(n < p for n, p in zip(case.shape, patch, strict=True)):
        report.odd.append("thinner than a patch: padded")
    report.odd += list(_odd_values(case))
    return report


def _odd_values(case: Case) -> Iterable[str]:
    found, low, high = case.statistics, case.range.low, case.range.high
    if case.range.unit == "HU" and found.minimum > -500:
        yield "no air: are these Hounsfield units?"
    if found.maximum <= low or found.minimum >= high:
        yield "all values lie outside the intensity range"
    elif found.percentile(95) is not None and (found.percentile(95) or 0) <= low:
        yield "95 % of the voxels lie below the intensity range"
    elif found.percentile(5) is not None and (found.percentile(5) or 0) >= high:
        yield "95 % of the voxels lie above the intensity range"


def _compare(reports: list[CaseReport]) -> None:
    """Adds what is odd about a case beside the others."""
    if not reports:
        return
    median = np.median([report.spacing for report in reports], axis=0)
    twins: dict[str, list[CaseReport]] = defaultdict(list)
    for report in reports:
        twins[report.digest].append(report)
        ratio = np.array(report.spacing) / median
        if (ratio > UNUSUAL).any() or (ratio < 1 / UNUSUAL).any():
            report.odd.append("spacing far from the others'")
    for same in twins.values():
        for report in same:
            others = [other for other in same if other is not report]
            if others:
                across = (
                    " of another split" if any(o.split != report.split for o in others) else ""
                )
                report.odd.append(f"same voxels as {others[0].case_id}{across}")
