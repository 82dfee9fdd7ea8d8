"""The chart over frequency: means are lines, ranges are areas, too high is at the end."""

import xml.etree.ElementTree as ET

import pytest

from vae3d.charts.spectrum import MOST_TOP, spectrum_chart

SVG = "{http://www.w3.org/2000/svg}"
CURVES = [
    ("power kept", [(0.1, 0.8, 0.9, 1.0), (0.3, 0.5, 0.6, 0.9), (0.5, 0.4, 1.0, 40.0)]),
    ("shell correlation", [(0.1, 0.9, 0.9, 0.9), (0.5, -0.1, 0.0, 0.1)]),
]


def points(root: ET.Element, tag: str, kind: str) -> list[list[float]]:
    shapes = [e for e in root.iter(f"{SVG}{tag}") if kind in str(e.get("class")).split()]
    (shape,) = shapes
    return [[float(n) for n in point.split(",")] for point in str(shape.get("points")).split()]


def test_lines_are_means_and_areas_are_ranges() -> None:
    root = ET.fromstring(spectrum_chart(CURVES, 0.5, "cycles per voxel", (0.5, 0.143)).svg("s"))
    line, area = points(root, "polyline", "series-0"), points(root, "polygon", "series-0")
    assert len(line) == 3
    assert len(area) == 6
    # Frequencies 0.1, 0.3, 0.5 are evenly spaced, and so are the values 0.4, 0.6 and 0.8.
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0], abs=0.2)
    lows = [area[n][1] for n in (0, 1, 2)]
    assert lows[0] < line[1][1] < lows[2], "y points down"
    assert line[1][1] - lows[0] == pytest.approx(lows[2] - line[1][1], abs=0.2)
    other = points(root, "polyline", "series-1")
    assert other[0][0] == line[0][0]
    assert other[1][0] == line[2][0]
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"power kept", "shell correlation", "cycles per voxel", "0.25", "0.143"} <= texts


def test_what_is_too_high_is_drawn_at_the_end() -> None:
    root = ET.fromstring(spectrum_chart(CURVES, 0.5, "cycles per voxel").svg("s"))
    highest = min(y for _, y in points(root, "polygon", "series-0"))
    unit = points(root, "polyline", "series-0")
    per_unit = (unit[1][1] - unit[2][1]) / (1.0 - 0.6)
    assert unit[2][1] - highest == pytest.approx(per_unit * (MOST_TOP - 1.0), abs=0.3)


@pytest.mark.parametrize("curves", [[], [("none", [])], [("one", [(0.1, 1.0, 1.0, 1.0)])], CURVES])
def test_any_number_of_curves_is_drawn(curves: list) -> None:
    chart = spectrum_chart(curves, 0.25, "cycles per mm")
    ET.fromstring(chart.svg("spectrum"))
    assert chart.picture(1).size == (460, 290)
