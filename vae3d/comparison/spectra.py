"""`spectrum_charts`: power kept and shell correlation of compared runs over frequency."""

import csv
import logging
import math
from collections.abc import Collection
from statistics import fmean

from vae3d.charts.drawing import SERIES
from vae3d.charts.spectrum import Range, spectrum_chart
from vae3d.comparison.reader import Report, printable
from vae3d.comparison.results import Comparison
from vae3d.files.checksums import warn_if_changed
from vae3d.files.reading import open_text, reason_of
from vae3d.report.spectra import COLUMNS, NAME, PER_VOXEL
from vae3d.scoring.sharpness import THRESHOLDS
from vae3d.scoring.spectrum import NYQUIST

log = logging.getLogger(__name__)

CURVES = {"power_kept": "Power kept", "fsc": "Fourier shell correlation"}
"""Columns of `spectra.csv` that are drawn, with their titles."""
MAX_VALUE = 1e6
"""Larger values of a file are left out."""
Means = dict[str, list[Range]]
"""The mean curve of each column."""


def spectrum_charts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return titles and SVG charts of the means over the cases that all runs have.

    Reports without these curves, as of earlier versions, are not drawn; of a single one there is
    nothing to compare.
    """
    runs = {report.name: _means(report, comparison.common) for report in comparison.reports}
    known = {name: means for name, means in runs.items() if means}
    if len(known) < 2:
        return []
    charts = []
    for column, title in CURVES.items():
        curves = [(printable(name), means[column]) for name, means in known.items()]
        levels = THRESHOLDS if column == "fsc" else ()
        chart = spectrum_chart(curves[: len(SERIES)], NYQUIST, PER_VOXEL, levels)
        charts.append((title, chart.svg(f"{title} over {PER_VOXEL}")))
    return charts


def _means(report: Report, common: Collection[str]) -> Means:
    """Return the mean curves of a report over cases; nothing if it has none or is damaged."""
    path = report.folder / f"{NAME}.csv"
    if not path.is_file():
        return {}
    warn_if_changed(path)
    # Cases may have other names in the first report.
    names = {report.cases[case].case_id for case in common}
    values: dict[str, dict[float, list[float]]] = {column: {} for column in CURVES}
    try:
        with open_text(path) as file:
            rows = csv.reader(file)
            if tuple(next(rows, [])) != COLUMNS:
                raise ValueError(f"must begin with {','.join(COLUMNS)}")
            for cells in rows:
                case, unit, frequency, *numbers = cells
                if unit != PER_VOXEL or case not in names:
                    continue
                for column, cell in zip(CURVES, numbers, strict=True):
                    if cell:
                        values[column].setdefault(_number(frequency), []).append(_number(cell))
    except (OSError, ValueError, csv.Error) as error:
        log.warning(f"no curves of {printable(report.name)}: {path}: {reason_of(error)}")
        return {}
    return {
        column: [(f, mean, mean, mean) for f, mean in sorted(_mean_curve(of)) if f <= NYQUIST]
        for column, of in values.items()
    }


def _mean_curve(values: dict[float, list[float]]) -> list[tuple[float, float]]:
    return [(frequency, fmean(of)) for frequency, of in values.items()]


def _number(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value) or abs(value) > MAX_VALUE:
        raise ValueError(f"{printable(cell[:40])!r} is no value of a curve")
    return value
