"""`rate_chart`: quality over bits per voxel, a curve for each codec and a dot for the VAE."""

import math
from collections.abc import Sequence

from vae3d.charts.chart import (
    BOTTOM,
    KEY_LINE,
    LEFT,
    RIGHT,
    Axis,
    limits,
    value_text,
    write_names,
)
from vae3d.charts.drawing import SERIES, Dot, Drawing, Line, Point, Text

SIZE = (460, 290)
"""As wide as the screen of a phone."""
MIN_RATIO = 1.2
"""Ends of the horizontal axis differ by this factor, at least."""


def rate_chart(
    curves: Sequence[tuple[str, Sequence[Point]]],
    point: tuple[str, Point] | None,
    size: tuple[float, float] = SIZE,
) -> Drawing:
    """Return a drawing of `size` units of curves of (bits per voxel, dB) with their names.

    `point` is the name and the place of one result, drawn as a larger dot. Bits per voxel are
    above 0, and their axis is logarithmic; all numbers are finite.
    """
    chart = Drawing(*size)
    names = [*([point[0]] if point else []), *(name for name, _ in curves)]
    kinds = dict(zip(names, SERIES, strict=False))
    every = [*([point[1]] if point else []), *(place for _, curve in curves for place in curve)]
    top = write_names(chart, kinds, size[0])
    if not every:
        return chart
    rates, values = zip(*every, strict=True)
    middle, half = math.sqrt(min(rates) * max(rates)), math.sqrt(max(rates) / min(rates))
    half = max(half * 1.08, MIN_RATIO)
    across = Axis(middle / half, middle * half, LEFT, size[0] - RIGHT, log=True)
    up = Axis(*limits(min(values), max(values)), size[1] - BOTTOM - KEY_LINE, top + 14)
    _axes(chart, across, up, (min(rates), max(rates)))
    for name, curve in curves:
        places = [(across(x), up(y)) for x, y in curve]
        chart.add([Line(places, kinds[name], 1.6)])
        chart.add([Dot(x, y, 2.2, kinds[name]) for x, y in places])
    if point:
        x, y = across(point[1][0]), up(point[1][1])
        chart.add([Dot(x, y, 5, kinds[point[0]])])
    return chart


def _axes(chart: Drawing, across: Axis, up: Axis, ends: tuple[float, float]) -> None:
    for tick in up.ticks():
        y = up(tick)
        chart.add([Line([(across.start, y), (across.end, y)], "grid")])
        chart.add([Text(across.start - 5, y + 3.5, value_text(tick), anchor="end")])
    for tick in _doublings(*ends):
        x = across(tick)
        chart.add([Line([(x, up.start), (x, up.start + 3)], "axis")])
        chart.add([Text(x, up.start + 15, f"{tick:g}", anchor="middle")])
    chart.add([Line([(across.start, up.start), (across.end, up.start)], "axis")])
    chart.add([Text(across.start - 5, up.end - 4, "dB", anchor="end")])
    middle = (across.start + across.end) / 2
    chart.add([Text(middle, up.start + 15 + KEY_LINE, "bits per voxel", anchor="middle")])


def _doublings(low: float, high: float) -> list[float]:
    """Return the powers of two between two ends, or the ends if there are fewer than two."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    if last > first:
        return [2.0**n for n in range(first, last + 1)]
    return [float(f"{end:.3g}") for end in dict.fromkeys((low, high))]
