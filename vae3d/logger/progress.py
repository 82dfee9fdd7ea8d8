"""`ProgressPicture`: the curves of a training as one picture in its run folder."""

import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vae3d.logger.base import Logger, Scores
from vae3d.logger.history import History
from vae3d.runtime.files import atomic_write

log = logging.getLogger(__name__)

MIN_POSITIVE = 1e-30
"""Smaller positive numbers are drawn as 0: their ratios may overflow."""
SHOWN_SCORES = ("psnr", "ssim", "mae")
NOT_LOSS_TERMS = ("step", "epoch", "split", "lr", "kl_weight", "grad_norm")

WIDTH, HEIGHT = 1320, 800
SMOOTH = 2
"""Supersampling factor: PIL draws lines without antialiasing."""
GAP, LEFT, BOTTOM = 20, 62, 34
TEXT, SMALL = 15, 13
Colour = tuple[int, int, int]
BACKGROUND, PANEL, GRID = (16, 18, 22), (22, 25, 30), (41, 45, 52)
FOREGROUND, MUTED = (225, 228, 232), (146, 152, 161)
COLOURS: tuple[Colour, ...] = (
    (103, 169, 255),
    (255, 158, 122),
    (102, 209, 164),
    (240, 200, 96),
    (199, 160, 245),
    (255, 126, 160),
    (126, 214, 223),
    (176, 184, 150),
)


class ProgressPicture(Logger):
    """Draws `picture` from `metrics`, a metrics.csv, at each validation and at the end.

    The first failure logs a warning and ends the drawing; it never stops a training.
    """

    def __init__(self, metrics: Path, picture: Path) -> None:
        self.picture = picture
        self.history = History(metrics)
        self.silenced = False

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Draw the curves after a validation."""
        if split == "val":
            self._draw()

    def close(self, failed: bool = False) -> None:
        """Draw the curves a last time."""
        self._draw()

    def _draw(self) -> None:
        if self.silenced:
            return
        try:
            self.history.read_new_rows()
            if self.history.curves:
                page = draw_page(self.history, self.picture.absolute().parent.name)
                with atomic_write(self.picture) as temporary:
                    page.save(temporary, "png")
        except Exception as error:
            log.warning(f"{self.picture}: no longer drawn ({error}); training continues")
            self.silenced = True


def draw_page(history: History, title: str) -> Image.Image:
    """Return a picture of the loss and its terms, the learning rate and the validation scores."""
    page = Image.new("RGB", (WIDTH * SMOOTH, HEIGHT * SMOOTH), BACKGROUND)
    canvas = Canvas(ImageDraw.Draw(page))
    name = "".join(c for c in title if c.isprintable())
    canvas.text(GAP, GAP, name, FOREGROUND, TEXT + 3, max_width=WIDTH - 300)
    canvas.text(WIDTH - GAP, GAP, f"step {history.step:,}", MUTED, TEXT, anchor="ra")
    scores = select_scores(history.of("val"))
    terms = [name for name in history.of("train") if name not in NOT_LOSS_TERMS]
    rate = [name for name in history.of("train") if name == "lr"]
    top, third = 2 * GAP + TEXT + 6, (WIDTH - 4 * GAP) // 3
    height = (HEIGHT - top - 2 * GAP) // 2 if scores else HEIGHT - top - GAP
    lefts = [GAP + n * (third + GAP) for n in range(3)]

    def panel(left: int, top: int, width: int) -> Panel:
        return Panel(canvas, (left, top, width, height), history.step)

    panel(lefts[0], top, 2 * third + GAP).draw(
        "training", [Line(history, "train", name, n) for n, name in enumerate(terms)], log=True
    )
    panel(lefts[2], top, third).draw(
        "learning rate", [Line(history, "train", name, 0) for name in rate]
    )
    for n, name in enumerate(scores):
        line = Line(history, "val", name, n)
        panel(lefts[n], top + height + GAP, third).draw("validation", [line], dots=True)
    return page.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def select_scores(names: Sequence[str]) -> list[str]:
    """Return the names of at most three validation scores, SHOWN_SCORES first."""
    first = [name for name in SHOWN_SCORES if name in names]
    return [*first, *(name for name in names if name not in first)][:3]


class Line:
    """A curve with its colour and its label."""

    def __init__(self, history: History, split: str, name: str, number: int) -> None:
        self.colour = COLOURS[number % len(COLOURS)]
        self.points = history.curves[split, name].points
        self.label = f"{name} {history.last[split, name]:.4g}"


@dataclass(frozen=True)
class Canvas:
    """Draws in pixels of the final picture, on an image that is SMOOTH times larger."""

    draw: ImageDraw.ImageDraw

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: Colour,
        size: int = SMALL,
        anchor: str = "la",
        max_width: float = math.inf,
    ) -> float:
        """Write text at a point, cut to `max_width` pixels, and return its width in pixels."""
        while self.length(text, size) > max_width:
            text = text[:-1]
        typeface = font(size * SMOOTH)
        self.draw.text((x * SMOOTH, y * SMOOTH), text, colour, typeface, anchor=anchor)
        return self.length(text, size)

    def length(self, text: str, size: int) -> float:
        """Return the width of a text in pixels."""
        return font(size * SMOOTH).getlength(text) / SMOOTH

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """Draw a line through all points."""
        scaled = [(x * SMOOTH, y * SMOOTH) for x, y in points]
        self.draw.line(scaled, colour, round(width * SMOOTH), joint="curve")

    def dot(self, x: float, y: float, colour: Colour, radius: float) -> None:
        """Draw a disc."""
        self.draw.circle((x * SMOOTH, y * SMOOTH), radius * SMOOTH, colour)

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """Draw the background of a diagram."""
        corners = [(x, y), (x + width, y + height)]
        scaled = [(a * SMOOTH, b * SMOOTH) for a, b in corners]
        self.draw.rounded_rectangle((*scaled[0], *scaled[1]), 8 * SMOOTH, PANEL)


@dataclass(frozen=True)
class Axis:
    """Maps the values from `low` to `high` to the pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        shape = math.log if self.log else float
        share = (shape(value) - shape(self.low)) / (shape(self.high) - shape(self.low))
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Panel:
    """One diagram in a `box` (left, top, width, height) from step 0 to `end`."""

    canvas: Canvas
    box: tuple[int, int, int, int]
    end: int

    def draw(
        self, title: str, lines: Sequence[Line], log: bool = False, dots: bool = False
    ) -> None:
        """Draw the curves with their axes; `log` scales y if all values are above 0."""
        left, top, width, height = self.box
        self.canvas.box(*self.box)
        below = self._legend(title, lines)
        values = [y for line in lines for _, y in line.points]
        if not values:
            self.canvas.text(left + width / 2, top + height / 2, "nothing yet", MUTED, anchor="mm")
            return
        log = log and min(values) > MIN_POSITIVE
        across = Axis(0, max(self.end, 1), left + LEFT, left + width - GAP)
        up = Axis(*limits(values, log), top + height - BOTTOM, below + 14, log)
        self._grid(across, up)
        for number, line in enumerate(lines):
            # The total loss is wider, so that a term equal to it is still visible on top.
            line_width = 3 if number == 0 and len(lines) > 1 else 1.5
            points = [(across(x), up(y)) for x, y in line.points]
            self._curve(points, line.colour, line_width, dots)

    def _grid(self, across: Axis, up: Axis) -> None:
        for tick in (log_ticks if up.log else ticks)(up.low, up.high):
            y = up(tick)
            self.canvas.line([(across.start, y), (across.end, y)], GRID, 1)
            self.canvas.text(across.start - 8, y, f"{tick:g}", MUTED, anchor="rm")
        for tick in ticks(across.low, across.high, most=6 if self.box[2] > WIDTH / 2 else 3):
            x = across(tick)
            self.canvas.line([(x, up.start), (x, up.start + 4)], MUTED, 1)
            self.canvas.text(x, up.start + 8, step_text(tick), MUTED, anchor="ma")
        self.canvas.line([(across.start, up.start), (across.end, up.start)], MUTED, 1)

    def _curve(
        self, places: list[tuple[float, float]], colour: Colour, width: float, dots: bool
    ) -> None:
        if len(places) > 1:
            self.canvas.line(places, colour, width)
        if dots and len(places) <= 40:
            for x, y in places:
                self.canvas.dot(x, y, colour, 2.4)
        self.canvas.dot(*places[-1], colour, 3.4)

    def _legend(self, title: str, lines: Sequence[Line]) -> float:
        """Write names and last values in the colours of their curves; return the bottom y."""
        left, top, width, _ = self.box
        available = width - 2 * GAP
        x, y = float(left + GAP), top + 12
        x += self.canvas.text(x, y, title, MUTED, TEXT) + GAP
        for line in lines:
            if x + self.canvas.length(line.label, TEXT) > left + GAP + available:
                x, y = left + GAP, y + TEXT + 6
            x += self.canvas.text(x, y, line.label, line.colour, TEXT, max_width=available) + GAP
        return y + TEXT


def limits(values: Sequence[float], log: bool = False) -> tuple[float, float]:
    """Return the ends of an axis with a margin around the values."""
    low, high = min(values), max(values)
    if log:
        margin = max(high / low, 1.2) ** 0.05
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
    """Return powers of ten; with 2 and 5 times them if few, else linear ticks if still few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 7)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        powers = range(first, last + 1, every)
        numbers = [float(f"{n}e{power}") for power in powers for n in factors]
        inside = [number for number in numbers if low <= number <= high]
        if len(inside) >= 3:
            return inside
    return [tick for tick in ticks(low, high) if tick > 0]


def step_text(step: float) -> str:
    """Return a number of steps as short text, such as 20k."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if step >= size:
            return f"{step / size:g}{unit}"
    return f"{step:g}"


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all captions."""
    return ImageFont.load_default(size)
