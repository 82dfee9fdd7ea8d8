"""The picture of a training: it grows with metrics.csv, is a function of it, and stops nothing."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae3d.charts.chart import LOG_RATIO, log_ticks, ticks
from vae3d.charts.history import MAX_POINTS, Curve
from vae3d.logger.csv import CsvLogger
from vae3d.logger.progress import ProgressPicture

COLUMNS = ["loss", "l1", "kl", "kl_weight", "lr", "grad_norm", "psnr", "ssim"]


def train(folder: Path, steps: range) -> None:
    """A training that improves, with a validation every ten steps."""
    table = CsvLogger(folder / "metrics.csv", COLUMNS)
    if steps.start == 1:
        table.truncate_after(0)
    for step in steps:
        loss = 0.1 + 1 / step
        table.log(step, {"epoch": 0, "loss": loss, "l1": loss / 2, "kl": 5.0, "lr": 1e-4})
        if step % 10 == 0:
            table.log(step, {"epoch": 0, "psnr": 30 - 1 / step, "ssim": 0.9}, "val")


def progress(folder: Path) -> ProgressPicture:
    return ProgressPicture(folder / "metrics.csv", folder / "progress.png")


def test_it_is_drawn_at_validations_and_at_the_end(tmp_path: Path) -> None:
    logger, picture = progress(tmp_path), tmp_path / "progress.png"
    train(tmp_path, range(1, 21))
    logger.log(20, {"loss": 0.1})
    assert not picture.exists()
    logger.log(20, {"psnr": 29.0}, "val")
    first = picture.read_bytes()
    train(tmp_path, range(21, 26))
    logger.log(25, {"loss": 0.1})
    assert picture.read_bytes() == first
    logger.close()
    assert picture.read_bytes() != first
    with Image.open(picture) as image:
        assert image.size == (1300, 835)
        colours = image.convert("RGB").getcolors(2**24)
    assert colours is not None
    assert len(colours) > 100, "curves and words, not one colour"
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv", "progress.png"]


def test_it_is_a_function_of_the_file_alone(tmp_path: Path) -> None:
    """Drawn repeatedly or once, after a resume or not: the same bytes."""
    often = progress(tmp_path)
    train(tmp_path, range(1, 900))
    often.log(899, {}, "val")
    train(tmp_path, range(900, 1000))
    often.close()
    picture = (tmp_path / "progress.png").read_bytes()
    progress(tmp_path).close()
    assert (tmp_path / "progress.png").read_bytes() == picture
    # A run that goes back to an earlier step has a shorter file.
    CsvLogger(tmp_path / "metrics.csv", COLUMNS).truncate_after(500)
    train(tmp_path, range(501, 1000))
    often.close()
    assert (tmp_path / "progress.png").read_bytes() == picture


def test_a_shorter_file_is_read_from_its_start(tmp_path: Path) -> None:
    logger = progress(tmp_path)
    train(tmp_path, range(1, 100))
    logger.close()
    CsvLogger(tmp_path / "metrics.csv", COLUMNS).truncate_after(30)
    logger.close()
    picture = (tmp_path / "progress.png").read_bytes()
    progress(tmp_path).close()
    assert (tmp_path / "progress.png").read_bytes() == picture


HEAD = "step,epoch,split,loss,lr,psnr\n"
DAMAGED = {
    "empty": "",
    "no end": "step,epoch,spl",
    "header": HEAD,
    "cut off": f"{HEAD}1,0,train,0.5,0.1,\n2,0,tra",
    "words": f"{HEAD}one,0,train,0.5,0.1,\n1,0,train,abc,,\n",
    "short rows": f"{HEAD}1\n1,0\n1,0,train,0.5,0.1,,,,\n",
    "another": "a,b\n1,2\n",
    "zeros": "\0" * 1000 + "\n",
    "huge": f"{HEAD}1,0,train,1e308,1e999,\n2,0,train,-1e308,nan,\n3,0,val,,,inf\n",
    "wide": f"{HEAD}1,0,train,1e-320,1e-9,\n2,0,train,9e299,0,\n9,0,val,,,-9e299\n",
    "tiny": f"{HEAD}1,0,train,5e-324,0,\n2,0,train,1e-323,0,\n2,0,val,,,5e-324\n",
    "flat": f"{HEAD}1,0,train,1,1,\n2,0,train,1.0000000000000002,1,\n3,0,val,,,0\n",
    "negative": f"{HEAD}1,0,train,-1,-1,\n2,0,train,-3,-1,\n3,0,val,,,-5\n",
    "same step": f"{HEAD}0,0,train,1,1,\n0,0,train,2,1,\n0,0,val,,,3\n",
    "quotes": f'{HEAD}1,0,train,"0.5",0.1,\n"2,0\n',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_no_file_stops_it(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.csv").write_text(DAMAGED[kind])
    logger = progress(tmp_path)
    logger.log(1, {"psnr": 1.0}, "val")
    train(tmp_path, range(1, 12))
    logger.close()
    assert capsys.readouterr().err == ""
    assert not logger.silenced


def test_no_file_at_all_is_no_picture(tmp_path: Path) -> None:
    progress(tmp_path).close()
    (tmp_path / "metrics.csv").mkdir()
    progress(tmp_path).close()
    assert not (tmp_path / "progress.png").exists()


def test_what_cannot_be_written_is_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path, range(1, 12))
    (tmp_path / "progress.png").mkdir()
    logger = progress(tmp_path)
    for step in (10, 20):
        logger.log(step, {}, "val")
    logger.close()
    logged = capsys.readouterr().err
    assert logged.count("\n") == 1
    assert "training continues" in logged
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.csv", "progress.png"]


@pytest.mark.parametrize("count", [1, 7, MAX_POINTS, MAX_POINTS + 1, 12_345])
def test_a_thinned_curve_keeps_its_sum_and_order(count: int) -> None:
    rng = np.random.default_rng(count)
    x, y = np.sort(rng.uniform(0, 100, count)), rng.normal(size=count)
    curve = Curve()
    for point in zip(x.tolist(), y.tolist(), strict=True):
        curve.add(*point)
    assert len(curve.points) <= MAX_POINTS
    assert len(curve.points) >= min(count, MAX_POINTS // 2)
    across = [point[0] for point in curve.points]
    assert across == sorted(across)
    assert sum(part[2] for part in curve.sums) == count
    assert sum(part[1] for part in curve.sums) == pytest.approx(y.sum())
    if count <= MAX_POINTS:
        assert curve.points == list(zip(x.tolist(), y.tolist(), strict=True))


def test_ticks_are_few_round_and_inside() -> None:
    rng = np.random.default_rng(0)
    for _ in range(2000):
        low = float(rng.normal() * 10.0 ** rng.integers(-8, 9))
        high = low + float(rng.uniform(0.1, 10)) * max(abs(low), 1e-9) * 10.0 ** rng.integers(
            -3, 3
        )
        found = ticks(low, high)
        assert 1 <= len(found) <= 7
        air = (high - low) * 1e-6
        assert all(low - air <= tick <= high + air for tick in found)
        assert all(len(f"{b - a:.4e}".split("e")[0].rstrip("0").rstrip(".")) == 1
                   for a, b in itertools.pairwise(found))  # fmt: skip
        low, high = sorted(10.0 ** rng.uniform(-20, 20, 2))
        high = max(high, low * LOG_RATIO)
        found = log_ticks(low, high)
        assert 2 <= len(found) <= 16
        assert all(low - air <= tick <= high * (1 + 1e-9) for tick in found)
        assert all(math.isfinite(tick) and tick > 0 for tick in found)
