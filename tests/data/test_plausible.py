"""The check of values against the intensity range."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vae3d.data.build import build_source
from vae3d.data.check import check_values
from vae3d.data.config import (
    CTConfig,
    Images2DConfig,
    MRIConfig,
    PreparableData,
    SyntheticConfig,
)
from vae3d.data.loaded import LoadedCases
from vae3d.errors import ConfigError, DataError
from vae3d.values.intensity import IntensityContract
from vae3d.values.plausible import find_implausible
from vae3d.values.value_check import ValueCheck, check_percentiles
from vae3d.values.voxel_statistics import BINS, VoxelStatistics

CT = IntensityContract("window", -1000.0, 1000.0, "HU")
IMAGE = IntensityContract("window", 0.0, 255.0, "a.u.")
MR = IntensityContract("percentiles", 0.0, 99.5, "a.u.")


def body() -> np.ndarray:
    """A CT: 60 % air, 37 % soft tissue, 3 % bone, in HU."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(-1000, 10, 6000), rng.normal(40, 60, 3700), rng.normal(800, 100, 300)]
    voxels = np.concatenate(parts)
    rng.shuffle(voxels)
    return voxels.reshape(1, 10, 100, 10)


def nearly_empty() -> np.ndarray:
    """A CT of which 0.7 % is not air."""
    return np.where(np.arange(10000).reshape(1, 10, 100, 10) < 70, body() * 0 + 60, -1000)


def kinds(voxels: np.ndarray, contract: IntensityContract = CT) -> list[tuple[str, bool]]:
    """The findings, which are those of a store of format 1 too."""
    statistics = VoxelStatistics.of(voxels.astype(np.float32), 0)
    found = [(one.kind, one.is_error) for one in find_implausible(statistics, contract)]
    old = replace(statistics, histogram=(), foreground=None)
    assert [(one.kind, one.is_error) for one in find_implausible(old, contract)] == found
    return found


def padded(value: float, slices: int = 3) -> np.ndarray:
    voxels = body()
    voxels[:, :slices] = value
    return voxels


@pytest.mark.parametrize(
    ("voxels", "contract"),
    [
        (body(), CT),
        (padded(-3024), CT),
        (padded(-2000, slices=6), CT),
        (nearly_empty(), CT),
        (body(), replace(CT, low=-160.0, high=240.0)),
        (np.minimum(body(), 200), replace(CT, low=-160.0, high=240.0)),
        (body(), replace(CT, low=-1024.0, high=3071.0)),
        ((body() + 1000) / 5, IMAGE),
        (body() + 1000, MR),
        ((body() + 1000) / 1e5, MR),
    ],
)
def test_ordinary_scans_raise_no_alarm(voxels: np.ndarray, contract: IntensityContract) -> None:
    assert kinds(voxels, contract) == []


@pytest.mark.parametrize(
    ("voxels", "contract", "expected"),
    [
        # CT scaled to [0, 1], with a hot voxel or nearly empty too.
        ((body() + 1024) / 4095, CT, [("covered", True)]),
        ((padded(-1024) + 1024) / 4095, CT, [("covered", True)]),
        (np.where(np.arange(10000).reshape(1, 10, 100, 10) == 7, 3e3, body() / 1e3), CT, [
            ("covered", True)
        ]),
        ((nearly_empty() + 1000) / 2000, CT, [("covered", True)]),
        ((body() + 1024) / 20, CT, [("covered", False), ("air", False)]),
        # No intercept, too large a slope, the air cut off.
        (body() + 1024, CT, [("clipped", False), ("air", False)]),
        (body() * 16, replace(CT, low=-20000.0), []),
        (np.maximum(body(), -300), CT, [("air", False)]),
        # 16 bit as 8 bit, 8 bit as 16 bit, and a window that nothing reaches.
        (np.maximum(body() + 1100, 0) * 16, IMAGE, [("saturated", True)]),
        ((body() + 1100) / 10, replace(IMAGE, high=65535.0), [("covered", True)]),
        (body(), replace(CT, low=2000.0, high=3000.0), [("saturated", True)]),
        (2.0**30 + body(), MR, [("precision", False)]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_noticed(
    voxels: np.ndarray, contract: IntensityContract, expected: list[tuple[str, bool]]
) -> None:
    assert kinds(voxels, contract) == expected


@pytest.mark.parametrize("scale", [1 / 4095, 0.005, 16.0, 1000.0])
@pytest.mark.parametrize("contract", [IMAGE, replace(CT, unit="a.u.")])
def test_the_suggested_window_fits(scale: float, contract: IntensityContract) -> None:
    voxels = ((body() + 1024) * scale).astype(np.float32)
    statistics = VoxelStatistics.of(voxels, 0)
    (found, *_) = find_implausible(statistics, contract)
    low, high = found.fitting
    assert find_implausible(statistics, replace(contract, low=low, high=high)) == []


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_shares_above_a_value_are_those_of_the_voxels(dtype: type) -> None:
    voxels = body().astype(dtype)
    statistics = VoxelStatistics.of(voxels, 0)
    assert sum(statistics.histogram) == pytest.approx(0.998 * voxels.size, rel=0.002)
    assert len(statistics.histogram) == BINS
    for value in (-2000, -500, 0, 40, 100, 400, 800, 5000):
        assert statistics.share_above(value) == pytest.approx((voxels > value).mean(), abs=0.01)
    above = voxels > statistics.threshold
    assert statistics.foreground == above.mean()
    share = (voxels[above] > 100).mean()
    assert statistics.foreground_above(100) == pytest.approx(share, abs=0.02)


def test_a_constant_background_is_not_above_itself() -> None:
    statistics = VoxelStatistics.of(np.maximum(body(), -900).astype(np.float32), 0)
    for one in (statistics, replace(statistics, histogram=())):
        assert one.share_above(-900) < 0.51
        assert one.share_above(-901) == 1


def collected(level: str, is_fixed: bool = False) -> ValueCheck:
    check = ValueCheck(CT, level, is_fixed)
    for name, voxels in (("a", body() / 4095), ("b", body() / 4095), ("c", body())):
        check.add(name, VoxelStatistics.of(voxels.astype(np.float32), 0))
    check.add("unread", None)
    return check


def test_each_level_refuses_or_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    for level in ("auto", "fail"):
        with pytest.raises(DataError, match=r"^2 of 3 scans \(a, b\) use 0\.0\d+ % of the window"):
            collected(level).report()
    with caplog.at_level(logging.WARNING):
        collected("off").report()
        collected("warn").report(warns=False)
        assert not caplog.records
        collected("warn").report()
    (message,) = caplog.messages
    assert "are these Hounsfield units?" in message
    assert "data.window=[-0." in message
    assert "data.check=off" in message


def test_fail_refuses_what_auto_only_warns_of(caplog: pytest.LogCaptureFixture) -> None:
    for level in ("auto", "fail"):
        check = ValueCheck(CT, level)
        check.add("no_air", VoxelStatistics.of(np.maximum(body(), -300).astype(np.float32), 0))
        if level == "fail":
            with pytest.raises(DataError, match=r"1 of 1 scan \(no_air\) has no voxel near -1000"):
                check.report()
        else:
            check.report()
            assert "near -1000 HU" in caplog.text


def test_another_window_is_not_advised_for_trained_weights() -> None:
    with pytest.raises(DataError) as caught:
        collected("auto", is_fixed=True).report()
    assert "data.window" not in str(caught.value)
    assert "convert the scans" in str(caught.value)


def test_percentiles_that_look_like_fractions_are_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for level in ("auto", "fail"):
        with pytest.raises(ConfigError, match=r"in percent.*did you mean \[0\.5, 99\.5\]\?"):
            check_percentiles((0.005, 0.995), level)
    check_percentiles((0.005, 0.995), "off")
    check_percentiles((0.0, 1.5), "auto")
    check_percentiles(None, "auto")
    assert not caplog.records
    check_percentiles((0.005, 0.995), "warn")
    assert "did you mean [0.5, 99.5]?" in caplog.text


REAL = {
    "ct": CTConfig(root="ct"),
    "ct of soft tissue": CTConfig(root="ct_64", window=(-160.0, 240.0)),
    "ct of lungs": CTConfig(root="ct_64", window=(-1350.0, 150.0)),
    "small ct": CTConfig(root="ct_64"),
    "small mr": MRIConfig(root="mr_64"),
    "images": Images2DConfig(root="images_2d"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_scans_raise_no_alarm(
    name: str, scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = REAL[name]
    config = replace(chosen, root=str(scans / str(chosen.root)), on_error="skip")
    assert not list(messages(config, caplog))


def test_phantoms_raise_no_alarm(caplog: pytest.LogCaptureFixture) -> None:
    for shape in ((32, 32), (32, 32, 32)):
        assert not list(messages(SyntheticConfig(shape=shape, count=12), caplog))


def test_mr_read_as_ct_is_noticed(scans: Path, caplog: pytest.LogCaptureFixture) -> None:
    (message,) = messages(CTConfig(root=str(scans / "mr_64")), caplog)
    assert "48 of 48 scans have no voxel near -1000 HU (air): are these Hounsfield" in message


def messages(config: PreparableData, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what is warned of data that are read without a store."""
    config = replace(config, store=None, cache_gib=0.0)
    cases = LoadedCases(build_source(config), config)
    for split in ("train", "val", "test"):
        cases.errors(split, stop=False)
    check_values(cases)
    # What only informs, the window of 8-bit images for one, is no alarm.
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
