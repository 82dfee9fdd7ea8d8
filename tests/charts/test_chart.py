"""One drawing of curves: the SVG and the picture show the same points, and text stays text."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from vae3d.charts.chart import LOG_RATIO, curve_chart, value_text
from vae3d.charts.drawing import COLOURS, Drawing, Text

CURVES = [
    ("series-0", [(0.0, 1.0), (50.0, 3.0), (100.0, 2.0)]),
    ("series-1", [(20.0, 1.5), (80.0, 2.5)]),
]


def lines(svg: str) -> dict[str, list[tuple[float, float]]]:
    """The points of the curves in an SVG, by kind."""
    return {
        str(shape.get("class")).split()[-1]: [
            (float(x), float(y))
            for x, y in (p.split(",") for p in str(shape.get("points")).split())
        ]
        for shape in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}polyline")
    }


def test_a_svg_keeps_the_proportions_of_the_points() -> None:
    drawn = lines(curve_chart(CURVES, 100).svg("loss"))
    points = np.array([p for kind, points in CURVES for p in points])
    places = np.array([p for kind, _ in CURVES for p in drawn[kind]])
    for axis, sign in ((0, 1), (1, -1)):
        slope, origin = np.polyfit(points[:, axis], places[:, axis], 1)
        assert slope * sign > 0, "steps go right and values go up"
        assert places[:, axis] == pytest.approx(origin + slope * points[:, axis], abs=0.11)


@pytest.mark.parametrize("ratio", [LOG_RATIO / 2, LOG_RATIO * 2])
def test_a_wide_range_is_logarithmic(ratio: float) -> None:
    steps = [(float(n), float(ratio ** (n / 10))) for n in range(11)]
    heights = [y for _, y in lines(curve_chart([("series-0", steps)], 10).svg(""))["series-0"]]
    even = np.ptp(np.diff(heights)) < 0.3
    assert even == (ratio > LOG_RATIO)
    linear = lines(curve_chart([("series-0", steps)], 10, log=False).svg(""))["series-0"]
    assert np.ptp(np.diff([y for _, y in linear])) > 1


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_a_picture_has_its_curves_where_the_svg_has_them(scale: int) -> None:
    chart = curve_chart(CURVES, 100)
    pixels = np.asarray(chart.picture(scale))
    assert pixels.shape == (178 * scale, 340 * scale, 3)
    for kind, places in lines(chart.svg("")).items():
        if kind.startswith("series"):
            for x, y in places:
                around = pixels[
                    max(0, round(y * scale) - 1) : round(y * scale) + 2,
                    max(0, round(x * scale) - 1) : round(x * scale) + 2,
                ]
                assert (around == COLOURS[kind]).all(axis=-1).any(), (kind, x, y)


def test_nothing_to_draw_is_said() -> None:
    assert "nothing yet" in curve_chart([], 0).svg("loss")


def test_text_is_never_markup() -> None:
    drawing = Drawing(10, 10, [Text(0, 0, "<script>&")])
    root = ET.fromstring(drawing.svg('"><b>'))
    assert root.get("aria-label") == '"><b>'
    assert [child.tag.split("}")[1] for child in root] == ["text"]
    assert root[0].text == "<script>&"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (30.5, "30.5"), (0.000104, "1.04e-4"), (80000, "8e4"), (-0.25, "-0.25")],
)
def test_ticks_are_short(value: float, text: str) -> None:
    assert value_text(value) == text
