"""`Drawing`: lines, dots and texts that become an SVG for a page or a picture for a PNG."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Protocol

from PIL import Image, ImageDraw, ImageFont

FONT_SIZE = 10.5
Colour = tuple[int, int, int]
Point = tuple[float, float]

BACKGROUND: Colour = (22, 25, 30)
COLOURS: Mapping[str, Colour] = {
    "text": (146, 152, 161),
    "axis": (146, 152, 161),
    "grid": (41, 45, 52),
    "title": (225, 228, 232),
    "series-0": (103, 169, 255),
    "series-1": (255, 158, 122),
    "series-2": (102, 209, 164),
    "series-3": (240, 200, 96),
    "series-4": (199, 160, 245),
    "series-5": (255, 126, 160),
    "series-6": (126, 214, 223),
    "series-7": (176, 184, 150),
}
"""The colours of the kinds of shapes in a picture. In an SVG, kinds are classes for CSS."""
AREA_SHARE = 0.16
"""Share of its own colour in that of an area."""
SERIES = [kind for kind in COLOURS if kind.startswith("series")]
ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}
"""PIL's names for the SVG anchors of a text on its baseline."""


class Shape(Protocol):
    """One element of a drawing."""

    def svg(self) -> str:
        """Return the element as SVG."""

    def paint(self, draw: ImageDraw.ImageDraw, scale: float) -> None:
        """Paint the element on a picture with `scale` pixels per unit."""


@dataclass(frozen=True)
class Line:
    """A line through all points."""

    points: Sequence[Point]
    kind: str
    width: float = 1

    def svg(self) -> str:
        """Return a polyline."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return (
            f'<polyline class="line {self.kind}" stroke-width="{self.width}" points="{places}"/>'
        )

    def paint(self, draw: ImageDraw.ImageDraw, scale: float) -> None:
        """Paint the line with round joints."""
        points = [(x * scale, y * scale) for x, y in self.points]
        draw.line(points, COLOURS[self.kind], round(self.width * scale), joint="curve")


@dataclass(frozen=True)
class Area:
    """A filled polygon through all points, faint, behind the line that it belongs to."""

    points: Sequence[Point]
    kind: str

    def svg(self) -> str:
        """Return a polygon."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)
        return f'<polygon class="area {self.kind}" points="{places}"/>'

    def paint(self, draw: ImageDraw.ImageDraw, scale: float) -> None:
        """Paint the polygon in a colour between its own and the background."""
        mixed = zip(COLOURS[self.kind], BACKGROUND, strict=True)
        r, g, b = (round(AREA_SHARE * own + (1 - AREA_SHARE) * back) for own, back in mixed)
        draw.polygon([(x * scale, y * scale) for x, y in self.points], (r, g, b))


@dataclass(frozen=True)
class Dot:
    """A disc."""

    x: float
    y: float
    radius: float
    kind: str

    def svg(self) -> str:
        """Return a circle."""
        place = f'cx="{self.x:.1f}" cy="{self.y:.1f}" r="{self.radius}"'
        return f'<circle class="disc {self.kind}" {place}/>'

    def paint(self, draw: ImageDraw.ImageDraw, scale: float) -> None:
        """Paint the disc."""
        draw.circle((self.x * scale, self.y * scale), self.radius * scale, COLOURS[self.kind])


@dataclass(frozen=True)
class Text:
    """A text from its baseline at (x, y)."""

    x: float
    y: float
    text: str
    kind: str = "text"
    anchor: str = "start"

    def svg(self) -> str:
        """Return a text."""
        place = f'x="{self.x:.1f}" y="{self.y:.1f}" text-anchor="{self.anchor}"'
        return f'<text class="{self.kind}" {place}>{escape(self.text)}</text>'

    def paint(self, draw: ImageDraw.ImageDraw, scale: float) -> None:
        """Paint the text."""
        place = self.x * scale, self.y * scale
        typeface = font(FONT_SIZE * scale)
        draw.text(place, self.text, COLOURS[self.kind], typeface, anchor=ANCHORS[self.anchor])


@dataclass
class Drawing:
    """Shapes on a canvas of `width` x `height` units, first at the back; y points down."""

    width: float
    height: float
    shapes: list[Shape] = field(default_factory=list)

    def add(self, shapes: Iterable[Shape]) -> None:
        """Put shapes in front of the others."""
        self.shapes.extend(shapes)

    def svg(self, label: str) -> str:
        """Return an SVG element with a `label` for screen readers; its colours are the page's."""
        body = "".join(shape.svg() for shape in self.shapes)
        box = f"0 0 {self.width:g} {self.height:g}"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="img" '
            f'aria-label="{escape(label)}">{body}</svg>'
        )

    def picture(self, scale: float) -> Image.Image:
        """Return a picture with `scale` pixels per unit, in light colours on BACKGROUND."""
        size = round(self.width * scale), round(self.height * scale)
        picture = Image.new("RGB", size, BACKGROUND)
        draw = ImageDraw.Draw(picture)
        for shape in self.shapes:
            shape.paint(draw, scale)
        return picture


def text_width(text: str) -> float:
    """Return the width of a text in units, about the same in a page."""
    return font(FONT_SIZE * 10).getlength(text) / 10


@functools.cache
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all texts."""
    return ImageFont.load_default(size)
