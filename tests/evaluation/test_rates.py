"""Rate and distortion: codecs at multiples of the latent's bits, next to the VAE."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.evaluation.test_page import view
from vae3d.evaluation import rates
from vae3d.evaluation.rates import FACTORS, MODEL, RatePoint, drawn, measured, write_rates
from vae3d.runtime.progress import Silent
from vae3d.scoring.codecs import jpeg2000


def test_points_are_what_the_codec_makes_of_the_case() -> None:
    case = view((6, 20, 24))
    points = measured([case], [1.0], ["jpeg2000"], Silent())
    image = (torch.from_numpy(case.original)[None] + 1000).clamp(0, 2000) / 1000 - 1
    other = (torch.from_numpy(case.reconstruction)[None] + 1000).clamp(0, 2000) / 1000 - 1
    own, *codec = points
    assert (own.codec, own.factor, own.bits_per_voxel) == (MODEL, 1.0, 1.0)
    squared = (image - other).double().square().mean()
    assert own.psnr == pytest.approx(10 * math.log10(4 / squared), abs=1e-4)
    assert [point.factor for point in codec] == [*FACTORS]
    for point in codec:
        coded = jpeg2000(image, int(point.factor * image.numel()))
        assert point.bits_per_voxel == coded.bits / image.numel()
        squared = (image - coded.image).double().square().mean()
        assert point.psnr == pytest.approx(10 * math.log10(4 / squared), abs=1e-3)


def test_of_a_large_case_the_middle_is_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    case = view((12, 20, 24))
    whole = measured([case], [1.0], [], Silent())
    monkeypatch.setattr(rates, "MAX_VOXELS", 12 * 20 * 24 // 8)
    (middle,) = measured([case], [1.0], [], Silent())
    part = slice(3, 9), slice(5, 15), slice(6, 18)
    error = (case.original - case.reconstruction)[part].astype(np.float64) / 1000
    assert middle.psnr == pytest.approx(10 * math.log10(4 / (error**2).mean()), abs=1e-3)
    assert middle.psnr != whole[0].psnr


def test_the_table_has_every_result_and_the_chart_their_means(tmp_path: Path) -> None:
    points = [
        RatePoint("a", MODEL, 1.0, 1.0, 30.0), RatePoint("b", MODEL, 1.0, 1.0, math.nan),
        RatePoint("a", "jpeg", 1.0, 1.0, 20.0), RatePoint("b", "jpeg", 1.0, 3.0, 30.0),
        RatePoint("a", "jpeg", 2.0, 3.0, math.inf), RatePoint("b", "jpeg", 4.0, 5.0, 40.0),
    ]  # fmt: skip
    chart = write_rates(tmp_path, points)
    assert "2 cases" in chart["text"]
    assert "JPEG" in chart["svg"]
    with (tmp_path / "rates.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 6
    assert rows[3] == {
        "case_id": "b", "codec": "jpeg", "factor": "1.0", "bits_per_voxel": "3.0", "psnr": "30.0",
    }  # fmt: skip
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.width == 920
    alone = [RatePoint("m", MODEL, 1.0, 1.0, 30.0), RatePoint("m", "jpeg", 1.0, 2.0, 25.0)]
    alone += [RatePoint("m", "jpeg", 4.0, 5.0, 40.0)]
    assert drawn(points).svg("") == drawn(alone).svg("")


def test_a_diverged_model_has_no_point(tmp_path: Path) -> None:
    chart = write_rates(tmp_path, [RatePoint("a", MODEL, 1.0, 1.0, math.nan)])
    assert ">VAE<" not in chart["svg"]
    assert "NaN" not in chart["svg"]
