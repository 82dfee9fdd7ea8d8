"""The chart of rate and distortion: places are those of the numbers, names say which is which."""

import xml.etree.ElementTree as ET

import pytest

from vae3d.charts.rates import rate_chart

SVG = "{http://www.w3.org/2000/svg}"
CURVES = [
    ("JPEG", [(0.5, 20.0), (1.0, 30.0), (2.0, 40.0)]),
    ("JPEG 2000", [(0.5, 30.0), (2.0, 60.0)]),
]


def places(kind: str, root: ET.Element) -> list[list[tuple[float, float]]]:
    lines = [e for e in root.iter(f"{SVG}polyline") if kind in str(e.get("class")).split()]
    points = [str(line.get("points")).split() for line in lines]
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line)] for line in points]


def test_curves_double_evenly_and_the_model_is_a_dot() -> None:
    root = ET.fromstring(rate_chart(CURVES, ("VAE", (1.0, 25.0))).svg("rates"))
    (jpeg,), (other,) = places("series-1", root), places("series-2", root)
    # Each doubling of the bits is as wide as the one before, each 10 dB as high.
    assert jpeg[1][0] - jpeg[0][0] == pytest.approx(jpeg[2][0] - jpeg[1][0], abs=0.2)
    assert jpeg[0][1] - jpeg[1][1] == pytest.approx(jpeg[1][1] - jpeg[2][1], abs=0.2)
    assert other[0] == pytest.approx((jpeg[0][0], jpeg[1][1]), abs=0.2)
    dots = [d for d in root.iter(f"{SVG}circle") if str(d.get("class")).endswith("series-0")]
    place = [float(str(dots[-1].get(key))) for key in ("cx", "cy")]
    assert place == pytest.approx([jpeg[1][0], (jpeg[0][1] + jpeg[1][1]) / 2], abs=0.2)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"VAE", "JPEG", "JPEG 2000", "dB", "bits per voxel", "0.5", "1", "2"} <= {*texts}


@pytest.mark.parametrize("curves", [[], CURVES[:1], [("one", [(0.3, 20.0)])], [("none", [])]])
@pytest.mark.parametrize("point", [None, ("VAE", (0.31, 20.0))])
def test_any_number_of_results_is_drawn(curves: list, point: tuple | None) -> None:
    chart = rate_chart(curves, point)
    ET.fromstring(chart.svg("rates"))
    assert chart.picture(1).size == (460, 290)
