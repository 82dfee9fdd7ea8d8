"""`histogram_chart`: how the values of data are distributed, against their intensity range."""

from collections.abc import Sequence

from vae3d.charts.chart import BOTTOM, LEFT, RIGHT, WIDTH, Axis, ticks
from vae3d.charts.drawing import Drawing, Line, Point, Text

SMALLEST = 1e-4
"""Shares below this one are drawn as this one: the vertical axis is logarithmic."""
HEIGHT, TOP = 178, 24


def histogram_chart(
    edges: Sequence[float],
    shares: Sequence[float],
    window: tuple[float, float],
    size: tuple[float, float] = (2 * WIDTH, HEIGHT),
) -> Drawing:
    """Return a drawing of `size` units of a histogram and the ends of a window.

    `shares` are those of all values in the bins between the `edges`, one more than bins. The
    vertical axis is logarithmic, so that a body before much air still shows.
    """
    low, high = min(edges[0], window[0]), max(edges[-1], window[1])
    margin = 0.03 * (high - low)
    across = Axis(low - margin, high + margin, LEFT, size[0] - RIGHT)
    up = Axis(SMALLEST, 1.0, size[1] - BOTTOM, TOP, log=True)
    chart = Drawing(*size)
    for share in (SMALLEST, 0.01, 1.0):
        y = up(share)
        chart.add([Line([(across.start, y), (across.end, y)], "grid")])
        chart.add([Text(across.start - 5, y + 3.5, f"{100 * share:g} %", anchor="end")])
    for tick in ticks(across.low, across.high, 8):
        x = across(tick)
        chart.add([Line([(x, up.start), (x, up.start + 3)], "axis")])
        chart.add([Text(x, up.start + 15, f"{tick:g}", anchor="middle")])
    chart.add([Line([(across.start, up.start), (across.end, up.start)], "axis")])
    steps: list[Point] = [(across(edges[0]), up.start)]
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        y = up(min(1.0, max(share, SMALLEST)))
        steps += [(across(left), y), (across(right), y)]
    chart.add([Line([*steps, (across(edges[-1]), up.start)], "series-0", 1.6)])
    for end, anchor, side in ((window[0], "start", 3), (window[1], "end", -3)):
        x = across(end)
        chart.add([Line([(x, up.start), (x, TOP - 14)], "series-1", 1.6)])
        chart.add([Text(x + side, TOP - 6, f"{end:g}", anchor=anchor)])
    return chart
