"""Reports on every case before training: shape, spacing, values, and what is unusual."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vae3d.data.cases import Case, Cases
from vae3d.errors import VolumeError
from vae3d.runtime.choices import SPLITS
from vae3d.scans.labels import may_be_labels
from vae3d.scans.orientation import orientation_of

OBLIQUE_DEGREES = 5.0
"""A larger angle to the nearest axis of the scanner is reported."""
ANISOTROPY_RATIO = 5.0
"""A larger ratio of the largest to the smallest spacing of a case is reported."""
SPACING_RATIO = 2.0
"""A larger ratio of a spacing to the data set's median, or its inverse, is reported."""


@dataclass
class CaseReport:
    """The report on one case; `odd` lists in words what a user should check."""

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
        """The number of voxels of one channel."""
        return int(np.prod(self.shape)) if self.shape else 0


def inspect_cases(cases: Cases, patch: tuple[int, ...] | None) -> list[CaseReport]:
    """Return a report on every case, usable or not; `patch` is the size of patches, if any."""
    reports = []
    for split in SPLITS:
        errors = cases.errors(split, stop=False)
        for index in cases.splits[split].tolist():
            reports.append(
                _report_failure(cases.case_id(index), split, errors[index])
                if index in errors
                else _report_case(cases.described(index), split, patch)
            )
    _compare_cases([report for report in reports if report.usable])
    return sorted(reports, key=lambda report: report.case_id)


def _report_failure(case_id: str, split: str, error: VolumeError) -> CaseReport:
    return CaseReport(case_id, split, odd=[f"cannot be used: {error.reason}"], usable=False)


def _report_case(case: Case, split: str, patch: tuple[int, ...] | None) -> CaseReport:
    statistics = case.statistics
    report = CaseReport(
        case_id=case.case_id,
        split=split,
        shape=case.shape,
        spacing=case.spacing,
        minimum=statistics.minimum,
        maximum=statistics.maximum,
        filled=statistics.filled,
        digest=statistics.digest,
    )
    if statistics.filled:
        report.odd.append(f"{statistics.filled} voxels were NaN or Inf")
    if case.geometry is not None:
        report.odd += map(str, case.geometry.findings)
    if case.geometry is not None and len(case.shape) == 3:
        report.orientation, angle = orientation_of(case.geometry.affine)
        if angle > OBLIQUE_DEGREES:
            report.odd.append(f"oblique by {angle:.0f} degrees")
    if max(case.spacing) > ANISOTROPY_RATIO * min(case.spacing):
        report.odd.append("voxels are far from cubes")
    if patch and any(n < p for n, p in zip(case.shape, patch, strict=True)):
        report.odd.append("thinner than a patch: padded")
    report.odd += list(_odd_values(case))
    return report


def _odd_values(case: Case) -> Iterable[str]:
    statistics, low, high = case.statistics, case.range.low, case.range.high
    if may_be_labels(statistics):
        yield "a handful of whole values: is this a label map?"
    if case.range.unit == "HU" and statistics.minimum > -500:
        yield "no air: are these Hounsfield units?"
    if statistics.maximum <= low or statistics.minimum >= high:
        yield "all values are outside the intensity range"
    elif statistics.percentile(95) is not None and (statistics.percentile(95) or 0) <= low:
        yield "95 % of the voxels are below the intensity range"
    elif statistics.percentile(5) is not None and (statistics.percentile(5) or 0) >= high:
        yield "95 % of the voxels are above the intensity range"


def _compare_cases(reports: list[CaseReport]) -> None:
    """Add what is unusual about a case in comparison with the others."""
    if not reports:
        return
    median = np.median([report.spacing for report in reports], axis=0)
    by_digest: dict[str, list[CaseReport]] = defaultdict(list)
    for report in reports:
        by_digest[report.digest].append(report)
        ratio = np.array(report.spacing) / median
        if (ratio > SPACING_RATIO).any() or (ratio < 1 / SPACING_RATIO).any():
            report.odd.append("spacing far from the others'")
    for group in by_digest.values():
        for report in group:
            others = [other for other in group if other is not report]
            if others:
                across = (
                    " of another split" if any(o.split != report.split for o in others) else ""
                )
                report.odd.append(f"same voxels as {others[0].case_id}{across}")
