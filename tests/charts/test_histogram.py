"""Histograms of values: shares of all voxels, and their place against the window."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from vae3d.charts.chart import BOTTOM
from vae3d.charts.histogram import HEIGHT, TOP, histogram_chart
from vae3d.values.histogram import pooled, share_below
from vae3d.values.voxel_statistics import VoxelStatistics


def scan(seed: int, shift: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    air, body = np.full(20_000, -1000.0), draw.normal(40, 60, 20_000)
    return (np.concatenate([air, body]) + shift).reshape(1, 40, 40, 25)


@pytest.mark.parametrize("kept", [True, False], ids=["histogram", "percentiles"])
def test_shares_are_those_of_the_voxels(kept: bool) -> None:
    voxels = scan(0)
    statistics = VoxelStatistics.of(voxels, 0)
    if not kept:
        values = {**vars(statistics), "histogram": (), "foreground": None}
        statistics = VoxelStatistics(**values)
    at = np.array([-2000.0, -900.0, 0.0, 40.0, 100.0, 3000.0])
    exact = [(voxels < value).mean() for value in at]
    np.testing.assert_allclose(share_below(statistics, at), exact, atol=0.02 if kept else 0.2)
    assert (np.diff(share_below(statistics, np.linspace(-1100, 400, 999))) >= 0).all()


def test_scans_count_alike_and_in_their_own_units() -> None:
    one, other = VoxelStatistics.of(scan(0), 0), VoxelStatistics.of(scan(1)[:, :20], 0)
    edges, shares = pooled([(one, (0.0, 1.0)), (other, (0.0, 1.0))])
    assert shares.sum() == pytest.approx(1, abs=0.01)
    scans = (v.clip(edges[0], edges[-1]) for v in (scan(0), scan(1)[:, :20]))
    expected = [np.histogram(v, edges)[0] / v.size for v in scans]
    np.testing.assert_allclose(shares, np.mean(expected, axis=0), atol=0.05)
    # The same scan in other units, with its unit, gives the same histogram.
    scaled = VoxelStatistics.of(scan(0) * 3 + 7, 0)
    np.testing.assert_allclose(
        pooled([(scaled, (7.0, 3.0))])[1], pooled([(one, (0.0, 1.0))])[1], atol=1e-3
    )
    constant = VoxelStatistics.of(np.ones((1, 4, 4, 4)), 0)
    assert np.isfinite(pooled([(constant, (0.0, 1.0))])[1]).all()


def test_the_window_is_where_its_values_are() -> None:
    edges, shares = [-1000.0, 0.0, 1000.0, 3000.0], [0.5, 0.01, 0.49]
    root = ET.fromstring(histogram_chart(edges, shares, (-1000.0, 1000.0)).svg("values"))
    kinds: dict[str, list[list[tuple[float, float]]]] = {}
    for shape in root.iter("{http://www.w3.org/2000/svg}polyline"):
        points = [(float(x), float(y)) for x, y in
                  (p.split(",") for p in str(shape.get("points")).split())]  # fmt: skip
        kinds.setdefault(str(shape.get("class")).split()[-1], []).append(points)
    (steps,), ends = kinds["series-0"], kinds["series-1"]
    # The third and fourth points are the second bin, between 0 and 1000.
    assert ends[0][0][0] == steps[0][0]
    assert ends[1][0][0] == steps[4][0]
    heights = [HEIGHT - BOTTOM - y for _, y in steps[1:-1:2]]
    assert heights == pytest.approx(
        [(HEIGHT - BOTTOM - TOP) * (1 + np.log10(share) / 4) for share in shares], abs=0.1
    )
