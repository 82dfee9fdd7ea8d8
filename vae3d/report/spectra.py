"""The sharpness of the cases: curves over frequency as a table and charts, and their means."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from vae3d.charts.drawing import Drawing
from vae3d.charts.spectrum import Range, spectrum_chart
from vae3d.files.atomic import atomic_write
from vae3d.files.plain import finite_or_none
from vae3d.runtime.messages import counted
from vae3d.scoring.sharpness import BANDS, THRESHOLDS, Sharpness
from vae3d.scoring.spectrum import NYQUIST, SHELLS, Spectrum
from vae3d.scoring.staircase import geometric_mean

NAME = "spectra"
"""Stem of the files."""
COLUMNS = ("case_id", "unit", "frequency", "power_kept", "fsc")
AXES = {2: ("height", "width"), 3: ("depth", "height", "width")}
"""Names of the axes in the report, by their number."""
PNG_SCALE = 2.0
"""Pixels of the PNG per unit of the drawing."""
PER_VOXEL, PER_MM = "cycles per voxel", "cycles per mm"
CURVES: dict[str, Callable[[Spectrum], list[float]]] = {
    "power kept": lambda spectrum: spectrum.power_kept,
    "shell correlation": lambda spectrum: spectrum.correlation,
}
"""The curves of a chart by name."""
Cases = Mapping[str, Sharpness]
"""The sharpness of cases by their names."""


def write_spectra(folder: Path, cases: Cases) -> None:
    """Write `spectra.csv` and `spectra.png`, or remove them if no sharpness was measured.

    The table has a row for each case and shell, first per voxel and then per mm. Cells are empty
    where the scan holds nothing.
    """
    table, picture = (folder / f"{NAME}{suffix}" for suffix in (".csv", ".png"))
    if not cases:
        for path in (table, picture):
            path.unlink(missing_ok=True)
        return
    with atomic_write(table) as new, new.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *_rows(cases)])
    with atomic_write(picture) as new:
        _charts(cases)[0].picture(PNG_SCALE).save(new, "png")


def _rows(cases: Cases) -> Iterable[tuple[object, ...]]:
    for case, sharpness in cases.items():
        spectra = {PER_VOXEL: sharpness.per_voxel, PER_MM: sharpness.per_mm}
        for unit, spectrum in spectra.items():
            curves = (spectrum.frequencies, spectrum.power_kept, spectrum.correlation)
            for numbers in zip(*curves, strict=True):
                yield case, unit, *("" if math.isnan(n) else f"{n:.6g}" for n in numbers)


def spectra_summary(cases: Cases) -> dict[str, Any]:
    """Return the means of the curves, of the finest detail and of the staircase as JSON values."""
    spectra, steps = [case.per_voxel for case in cases.values()], _steps(cases)
    return {
        "cases": len(cases),
        "cycles_per_voxel": spectra[0].frequencies,
        **{
            key: [finite_or_none(_stated(values)[0]) for values in zip(*curves, strict=True)]
            for key, curves in (
                ("power_kept", [spectrum.power_kept for spectrum in spectra]),
                ("fsc", [spectrum.correlation for spectrum in spectra]),
            )
        },
        "resolution_mm": {f"{t:g}": finite_or_none(_resolution(cases, t)) for t in THRESHOLDS},
        "staircase": {
            name: {
                str(period): stated[0] for period, row in steps.items() if (stated := row[axis])
            }
            for axis, name in enumerate(_axes(cases))
        },
    }


def sharpness_section(cases: Cases) -> dict[str, Any] | None:
    """Return what the page shows of the sharpness; None if it was not measured.

    These are a sentence, the charts as SVG, and tables of means with ranges, by band and by grid.
    """
    if not cases:
        return None
    titles = ("Power kept and shell correlation over cycles per voxel", "The same over mm")
    charts = [chart.svg(title) for chart, title in zip(_charts(cases), titles, strict=False)]
    bands = [
        [
            name.capitalize(),
            f"{low:g} to {high:g}",
            _stated([case.power(name) for case in cases.values()]),
            _stated([_fsc_between(case.per_voxel, low, high) for case in cases.values()]),
        ]
        for name, (low, high) in BANDS.items()
    ]
    steps = [
        [f"every {period} voxels", "", *(row or None for row in rows)]
        for period, rows in _steps(cases).items()
    ]
    return {
        "text": _text(cases),
        "charts": charts,
        "bands": bands,
        "steps": {"axes": [axis.capitalize() for axis in _axes(cases)], "rows": steps},
    }


def _text(cases: Cases) -> str:
    ends = [_resolution(cases, threshold) for threshold in THRESHOLDS]
    text = (
        f"Of {counted(len(cases))}: means, with the range of the cases. Power kept is the power "
        "of the reconstruction over that of the scan, 1 is right; blur is below, noise may be "
        "above. The Fourier shell correlation (FSC) with the scan is 1 for the same detail and 0 "
        "for detail that is not in the scan."
    )
    if all(map(math.isfinite, ends)):
        text += (
            " It falls below 0.5 at patterns of {:.3g} mm, and below 0.143 at {:.3g} mm.".format(
                *ends
            )
        )
    return (
        f"{text} The staircase is how much larger jumps are at the planes of a grid of the "
        "network than elsewhere, over the same in the scan: 1 is right, blocks are above."
    )


def _charts(cases: Cases) -> list[Drawing]:
    """Return the chart over cycles per voxel and, where voxels have a size, that over mm."""
    voxels = [case.per_voxel for case in cases.values()]
    mm = [case.per_mm for case in cases.values()]
    charts = [_chart(voxels, PER_VOXEL)]
    if any(spectrum.width != NYQUIST / SHELLS for spectrum in mm):
        charts.append(_chart(mm, PER_MM))
    return charts


def _chart(spectra: Sequence[Spectrum], unit: str) -> Drawing:
    """Return the chart of cases; up to the frequency that all of their grids can represent."""
    finest = min(spectra, key=lambda spectrum: spectrum.width)
    curves = [
        (name, _ranges([_at(finest.frequencies, s.frequencies, of(s)) for s in spectra], finest))
        for name, of in CURVES.items()
    ]
    return spectrum_chart(curves, len(finest.scan) * finest.width, unit, THRESHOLDS)


def _at(
    places: Sequence[float], frequencies: Sequence[float], values: Sequence[float]
) -> list[float]:
    """Return the curve at other frequencies, linear between the known ones; NaN beyond them."""
    known = [pair for pair in zip(frequencies, values, strict=True) if not math.isnan(pair[1])]
    if not known:
        return [math.nan] * len(places)
    xs, ys = zip(*known, strict=True)
    # The first centre of a grid with larger voxels is nearer to 0.
    return [float(v) for v in np.interp(places, xs, ys, right=math.nan)]


def _ranges(curves: Sequence[Sequence[float]], of: Spectrum) -> list[Range]:
    """Return smallest, mean and largest value at each frequency that a case has a value for."""
    stated = [(x, _stated(values)) for x, values in
              zip(of.frequencies, zip(*curves, strict=True), strict=True)]  # fmt: skip
    return [(x, low, mean, high) for x, (mean, low, high) in stated if not math.isnan(mean)]


def _stated(values: Iterable[float]) -> tuple[float, float, float]:
    """Return mean, smallest and largest of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return (fmean(known), min(known), max(known)) if known else (math.nan,) * 3


def _resolution(cases: Cases, threshold: float) -> float:
    """Return the mean period in mm of the finest detail with a shell correlation above this."""
    return _stated(
        1 / frequency
        for case in cases.values()
        if (frequency := case.per_mm.correlated_up_to(threshold)) > 0
    )[0]


def _fsc_between(spectrum: Spectrum, low: float, high: float) -> float:
    """Return the mean shell correlation between two frequencies."""
    pairs = zip(spectrum.frequencies, spectrum.correlation, strict=True)
    return _stated(value for frequency, value in pairs if low < frequency < high)[0]


def _axes(cases: Cases) -> tuple[str, ...]:
    return AXES[len(next(iter(cases.values())).steps)]


def _steps(cases: Cases) -> dict[int, list[tuple[float, float, float] | None]]:
    """Return for each period mean and range of the ratio along each axis; None without one."""
    known = [case.steps for case in cases.values()]
    periods = sorted({period for steps in known for axis in steps for period in axis})
    rows: dict[int, list[tuple[float, float, float] | None]] = {}
    for period in periods:
        columns = [
            [steps[axis][period] for steps in known if period in steps[axis]]
            for axis in range(len(known[0]))
        ]
        rows[period] = [
            (geometric_mean(values), min(values), max(values)) if values else None
            for values in columns
        ]
    return rows
