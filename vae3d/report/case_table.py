"""`cases.csv` of an inspection: a row for each case, and their totals."""

import csv
from pathlib import Path
from typing import Any

from vae3d.data.inspection import CaseReport
from vae3d.lists.left_out import table as left_out_rows
from vae3d.runtime.choices import SPLITS
from vae3d.runtime.files import atomic_write

COLUMNS = ["case", "split", "shape", "mm", "range", "axes", "NaN", "odd"]


def write_table(path: Path, reports: list[CaseReport], left_out: dict[str, str]) -> None:
    """Write all cases as CSV, and the scans that are left out without a split."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(map(row, reports))
        writer.writerows(left_out_rows(left_out, len(COLUMNS)))


def row(report: CaseReport) -> list[str]:
    """Return the cells of a case, one per column."""
    return [
        report.case_id,
        report.split,
        "x".join(map(str, report.shape)),
        "x".join(f"{s:.2f}" if s >= 0.1 else f"{s:.3g}" for s in report.spacing),
        f"{report.minimum:.5g}..{report.maximum:.5g}" if report.usable else "",
        report.orientation,
        str(report.filled) if report.usable else "",
        "; ".join(report.odd),
    ]


def totals(reports: list[CaseReport]) -> dict[str, Any]:
    """Return the numbers of cases (by split, unusable, odd) and of voxels."""
    return {
        "cases": {name: sum(r.usable and r.split == name for r in reports) for name in SPLITS},
        "unusable": sum(not report.usable for report in reports),
        "odd": sum(bool(report.odd) for report in reports),
        "voxels": sum(report.voxels for report in reports),
    }
