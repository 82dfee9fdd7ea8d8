"""`curve_chart`: curves over the steps of a training with their axes, for pages and pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vae3d.charts.drawing import Dot, Drawing, Line, Point, Text, text_width

MIN_POSITIVE = 1e-30
"""Smaller positive numbers are drawn as 0: their ratios may overflow."""
LOG_RATIO = 30
"""The vertical axis is logarithmic if the largest value is more than this times the smallest."""
MAX_DOTS = 40
"""Curves of more points are drawn without dots."""
WIDTH = 340
LEFT, RIGHT, BOTTOM = 46, 10, 28
"""Margins around the curves, in units."""
KEY_LINE = 15
"""Height of a line of names above the curves."""


@dataclass(frozen=True)
class Axis:
    """Maps the values from `low` to `high` to the places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        shape = math.log if self.log else float
        share = (shape(value) - shape(self.low)) / (shape(self.high) - shape(self.low))
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round numbers inside the axis, on a horizontal one about 60 units apart."""
        if self.log:
            return log_ticks(self.low, self.high)
        across = self.end > self.start
        return ticks(self.low, self.high, round((self.end - self.start) / 60) if across else 5)


def curve_chart(
    curves: Sequence[tuple[str, Sequence[Point]]],
    last_step: int,
    size: tuple[float, float] = (WIDTH, 178),
    top: float = 10,
    log: bool = True,
) -> Drawing:
    """Return a drawing of `size` units with curves from step 0 to `last_step`.

    A curve is a kind of COLOURS with its points (step, value). `top` units above the curves are
    left free. The vertical axis is logarithmic if `log`, all values are above 0, and their ratio
    exceeds LOG_RATIO.
    """
    chart = Drawing(*size)
    values = [y for _, points in curves for _, y in points]
    if not values:
        chart.add([Text(size[0] / 2, size[1] / 2, "nothing yet", anchor="middle")])
        return chart
    low, high = min(values), max(values)
    log = log and low > MIN_POSITIVE and high / low > LOG_RATIO
    across = step_axis(last_step, size[0])
    up = Axis(*limits(low, high, log), size[1] - BOTTOM, top, log)
    chart.add(shape for tick in up.ticks() for shape in _value_tick(up(tick), tick, across))
    chart.add(shape for tick in across.ticks() for shape in _step_tick(across(tick), tick, up))
    chart.add([Line([(across.start, up.start), (across.end, up.start)], "axis")])
    for number, (kind, points) in enumerate(curves):
        places = [(across(x), up(y)) for x, y in points]
        dots = places if len(places) <= MAX_DOTS else places[-1:]
        # The first curve is wider, so that one that is equal to it still shows on top.
        width = 2.4 if number == 0 and len(curves) > 2 else 1.4
        chart.add([Line(places, kind, width), *(Dot(x, y, 1.9, kind) for x, y in dots)])
    return chart


def step_axis(last_step: int, width: float = WIDTH) -> Axis:
    """Return the horizontal axis of a chart of this width."""
    return Axis(0, max(last_step, 1), LEFT, width - RIGHT)


def _value_tick(y: float, value: float, across: Axis) -> tuple[Line, Text]:
    grid = Line([(across.start, y), (across.end, y)], "grid")
    return grid, Text(across.start - 5, y + 3.5, value_text(value), anchor="end")


def _step_tick(x: float, step: float, up: Axis) -> tuple[Line, Text]:
    mark = Line([(x, up.start), (x, up.start + 3)], "axis")
    return mark, Text(x, up.start + 15, step_text(step), anchor="middle")


def write_names(chart: Drawing, kinds: dict[str, str], width: float) -> float:
    """Write the names of curves with their kinds at the top; return the height that they take."""
    x, y = float(LEFT), 14.0
    for name, kind in kinds.items():
        if x > LEFT and x + 14 + text_width(name) > width - RIGHT:
            x, y = float(LEFT), y + KEY_LINE
        chart.add([Dot(x + 4, y - 3.5, 4, kind), Text(x + 13, y, name)])
        x += 13 + text_width(name) + 16
    return y


def limits(low: float, high: float, log: bool = False) -> tuple[float, float]:
    """Return the ends of an axis with a margin around the values."""
    if log:
        margin = (high / low) ** 0.05
        return low / margin, high * margin
    flat = high - low <= 1e-9 * max(abs(low), abs(high), MIN_POSITIVE)
    margin = max(0.05 * abs(high), MIN_POSITIVE) if flat else 0.07 * (high - low)
    return low - margin, high + margin


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers between two ends, at most `most` steps of 1, 2 or 5 times 10^n."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(n * power for n in (1.0, 2.0, 5.0, 10.0) if n * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.12g}") for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten; with 3 times them if few, else with 2 and 5 times them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 7)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = range(first, last + 1, every)
        numbers = [float(f"{n}e{power}") for power in powers for n in factors]
        inside = [number for number in numbers if low <= number <= high]
        if len(inside) >= 3:
            break
    return inside


def value_text(value: float) -> str:
    """Return a number as the shorter of 0.00012 and 1.2e-4."""
    digits, _, power = f"{value:.5e}".partition("e")
    return min(f"{value:g}", f"{float(digits):g}e{int(power)}", key=len)


def step_text(step: float) -> str:
    """Return a number of steps as short text, such as 20k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if step >= size:
            return f"{step / size:g}{unit}"
    return f"{step:g}"
