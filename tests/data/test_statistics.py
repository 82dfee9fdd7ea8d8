"""Statistics of a case against numpy."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae3d.scans.volume import Volume
from vae3d.scans.voxels import voxels_to_tensor
from vae3d.store.foreground import ForegroundMap
from vae3d.values.voxel_statistics import PERCENTILES, VoxelStatistics, percentiles_of


def case(dtype: torch.dtype, channels: int = 1) -> Volume:
    generator = torch.Generator().manual_seed(0)
    data = (torch.randn(channels, 5, 6, 7, generator=generator) * 300 + 40).to(dtype)
    return Volume(data, np.eye(4), "case")


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_statistics_equal_those_of_numpy(dtype: torch.dtype, channels: int) -> None:
    volume = case(dtype, channels)
    voxels = volume.data.numpy().astype(np.float64)
    statistics = VoxelStatistics.of(volume.data.numpy(), 3)
    assert (statistics.minimum, statistics.maximum, statistics.filled) == (
        voxels.min(),
        voxels.max(),
        3,
    )
    assert statistics.mean == pytest.approx(voxels.mean(), rel=1e-12)
    assert statistics.std == pytest.approx(voxels.std(), rel=1e-9)
    np.testing.assert_allclose(
        statistics.percentiles, np.percentile(voxels, PERCENTILES), rtol=1e-6
    )
    assert VoxelStatistics.from_json({**asdict(statistics)}) == statistics
    assert statistics.percentile(50.0) == pytest.approx(np.median(voxels), rel=1e-6)
    assert statistics.percentile(50.1) is None


def test_the_stored_percentiles_are_pinned() -> None:
    """Stores of earlier versions would lack new percentiles."""
    assert PERCENTILES == (
        0, 0.05, 0.1, 0.5, 1, 2, 5, 10, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.95, 100,
    )  # fmt: skip


def test_a_constant_case_has_no_deviation() -> None:
    """After rounding the mean square may be below the square of the mean."""
    data = torch.full((1, 3, 3, 3), 0.1)
    statistics = VoxelStatistics.of(data.numpy(), 0)
    assert statistics.std == pytest.approx(0, abs=1e-7)
    assert statistics.mean == pytest.approx(0.1)


def test_the_digest_is_of_voxels_and_shape() -> None:
    volume = case(torch.int16)
    digest = VoxelStatistics.of(volume.data.numpy(), 0).digest
    assert len(digest) == 32
    other = Volume(volume.data.clone(), 2 * np.eye(4), "another")
    assert VoxelStatistics.of(other.data.numpy(), 0).digest == digest
    strided = volume.data.transpose(1, 3).contiguous().transpose(1, 3)
    assert VoxelStatistics.of(strided.numpy(), 0).digest == digest
    reshaped = Volume(volume.data.reshape(1, 6, 5, 7), np.eye(4), "case")
    changed = Volume(volume.data.clone(), np.eye(4), "case")
    changed.data[0, -1, -1, -1] += 1
    for one in (reshaped, changed):
        assert VoxelStatistics.of(one.data.numpy(), 0).digest != digest


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_moments_are_those_of_numpy_whatever_the_number_of_threads(dtype: Any) -> None:
    """Those of whole numbers are exact: bit-identical to sums in any other order."""
    shape = (2, 3, 300, 301)
    voxels = np.random.default_rng(0).integers(-(2**15), 2**15, shape).astype(dtype)
    statistics = VoxelStatistics.of(voxels, 0)
    values = [int(value) for value in voxels.ravel()]
    mean, squares = sum(values) / voxels.size, sum(value**2 for value in values) / voxels.size
    assert (statistics.mean, statistics.std) == (mean, float(np.sqrt(squares - mean**2)))


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", ">i2", "<u2", "<i4", "<f4", ">f4", "<f8"])
def test_plain_voxels_are_those_that_a_slope_of_one_returns(dtype: str) -> None:
    """Without a slope nothing is computed in float64; zeros and NaN are the same bits."""
    voxels = np.random.default_rng(0).integers(-99, 99, (5, 6, 7)).astype(dtype).transpose(2, 0, 1)
    if voxels.dtype.kind == "f":
        voxels[:4, 0, 0] = (-0.0, np.nan, np.inf, 1e-45)
    found = voxels_to_tensor(Path("a"), voxels[::-1]).numpy()
    expected = (voxels[::-1].astype(np.float64) * 1.0 + 0.0).astype(found.dtype)
    assert found.tobytes() == expected.tobytes()
    assert found.flags.c_contiguous


@pytest.mark.parametrize("shape", [(1, 1, 1), (16, 17, 33), (40, 5), (15, 64, 16)])
def test_the_foreground_map_has_the_largest_value_of_each_cell(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(size=shape)
    maxima = ForegroundMap.of(image).maxima
    for at in np.ndindex(maxima.shape):
        cell = tuple(slice(16 * i, 16 * i + 16) for i in at)
        assert maxima[at] == image[cell].max()
    assert maxima.shape == tuple(-(-n // 16) for n in shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 70_001])
def test_percentiles_of_fractions_are_bit_identical_to_those_of_numpy(
    dtype: Any, size: int
) -> None:
    rng = np.random.default_rng(size)
    at = (*PERCENTILES, *rng.uniform(0, 100, 50).tolist())
    for values in (rng.normal(0, 1e3, size), rng.integers(-3, 3, size), rng.lognormal(0, 9, size)):
        voxels = values.astype(dtype).reshape(1, 1, -1)
        expected = np.asarray(np.percentile(voxels, at), np.float64)
        assert percentiles_of(voxels, at).tobytes() == expected.tobytes()
