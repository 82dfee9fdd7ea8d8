"""`spectrum_chart`: values between 0 and about 1 over spatial frequency, with their ranges."""

from collections.abc import Sequence

from vae3d.charts.chart import BOTTOM, KEY_LINE, LEFT, RIGHT, Axis, value_text, write_names
from vae3d.charts.drawing import SERIES, Area, Drawing, Line, Text

SIZE = (460, 290)
"""As wide as the screen of a phone."""
LEAST_TOP, MOST_TOP = 1.1, 1.6
"""Ends of the vertical axis, at least and at most: higher values are drawn at its end."""
Range = tuple[float, float, float, float]
"""A frequency, and the smallest, mean and largest value at it."""


def spectrum_chart(
    curves: Sequence[tuple[str, Sequence[Range]]],
    last: float,
    unit: str,
    levels: Sequence[float] = (),
    size: tuple[float, float] = SIZE,
) -> Drawing:
    """Return a drawing of `size` units of named curves from frequency 0 to `last`.

    Around each mean is the range of the values. Horizontal lines are drawn at 1 and at `levels`,
    which are labelled. All numbers are finite.
    """
    chart = Drawing(*size)
    kinds = dict(zip((name for name, _ in curves), SERIES, strict=False))
    top = write_names(chart, kinds, size[0])
    every = [value for _, points in curves for _, *values in points for value in values]
    low, high = min([0.0, *every]), max([LEAST_TOP, *every])
    across = Axis(0.0, last, LEFT, size[0] - RIGHT)
    up = Axis(max(low, -1.0), min(high, MOST_TOP), size[1] - BOTTOM - KEY_LINE, top + 14)
    _axes(chart, across, up, unit)
    for level in (1.0, *levels):
        y = up(level)
        chart.add([Line([(across.start, y), (across.end, y)], "axis", 0.8)])
        if level in levels:
            # On the left, where curves are near 1.
            chart.add([Text(across.start + 4, y - 4, f"{level:g}")])

    def place(x: float, y: float) -> tuple[float, float]:
        return across(x), up(min(max(y, up.low), up.high))

    drawn = [(name, points) for name, points in curves if points]
    for name, points in drawn:
        edge = [place(x, smallest) for x, smallest, _, _ in points]
        edge += [place(x, largest) for x, _, _, largest in reversed(points)]
        chart.add([Area(edge, kinds[name])])
    for name, points in drawn:
        chart.add([Line([place(x, mean) for x, _, mean, _ in points], kinds[name], 1.8)])
    return chart


def _axes(chart: Drawing, across: Axis, up: Axis, unit: str) -> None:
    for tick in up.ticks():
        y = up(tick)
        chart.add([Line([(across.start, y), (across.end, y)], "grid")])
        chart.add([Text(across.start - 5, y + 3.5, value_text(tick), anchor="end")])
    for part in range(5):
        # Quarters of the axis: the bands of the scores, where it ends at 0.5 cycles per voxel.
        tick = across.high * part / 4
        x = across(tick)
        chart.add([Line([(x, up.start), (x, up.start + 3)], "axis")])
        chart.add([Text(x, up.start + 15, f"{tick:.3g}", anchor="end" if part == 4 else "middle")])
    chart.add([Line([(across.start, up.start), (across.end, up.start)], "axis")])
    middle = (across.start + across.end) / 2
    chart.add([Text(middle, up.start + 15 + KEY_LINE, unit, anchor="middle")])
