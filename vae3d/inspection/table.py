"""The cases of an inspection as a table, `cases.csv` and in the terminal, and their totals."""

import csv
import logging
from pathlib import Path
from typing import Any

from vae3d.files.atomic import atomic_write
from vae3d.inspection.cases import CaseReport
from vae3d.lists.left_out import listed
from vae3d.lists.left_out import table as left_out_rows
from vae3d.logger.console import table
from vae3d.runtime.choices import SPLITS
from vae3d.runtime.memory import GIB
from vae3d.runtime.messages import counted
from vae3d.runtime.run_list import size_text

log = logging.getLogger(__name__)

COLUMNS = ["case", "split", "shape", "mm", "range", "axes", "NaN", "odd"]
TERMINAL_COLUMNS = 6
"""Columns on the terminal; the others are listed below the table as odd."""


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


def show_cases(
    reports: list[CaseReport], summary: dict[str, Any], rows: int, output: Path
) -> None:
    """Print up to `rows` cases, odd ones first, what is odd about them, and the totals."""
    ordered = sorted(reports, key=lambda report: (not report.odd, report.case_id))[:rows]
    title = f"{counted(len(reports))}, {summary['odd']} of them odd"
    table(title, COLUMNS[:TERMINAL_COLUMNS], [row(r)[:TERMINAL_COLUMNS] for r in ordered])
    for report in ordered:
        if report.odd:
            log.info(f"odd: {report.case_id}: {'; '.join(report.odd)}")
    if len(reports) > rows:
        log.info(f"{counted(len(reports) - rows, 'more case')} in {output / 'cases.csv'}")
    for line in listed(summary["left_out"], rows):
        log.info(line)
    cases, patients, patches = summary["cases"], summary["patients"], summary["patches"]
    # Without groups each case counts as a patient, which is not known.
    known = patients != cases
    for split in SPLITS:
        of = f" of {counted(patients[split], 'patient')}" if known else ""
        log.info(f"{split:5s} {counted(cases[split])}{of}, {patches[split]} patches an epoch")
    speed = f"{summary['reading']['patches_per_second']:.0f} patches a second from one process"
    store = summary["reading"].get("store_gib")
    size = "" if store is None else f", store {size_text(round(store * GIB))}"
    log.info(f"{summary['voxels'] / 1e6:.1f} million voxels{size}, {speed}")
