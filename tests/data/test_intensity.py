"""Intensities, number by number."""

from typing import Any

import numpy as np
import pytest
import torch

from vae3d.data.config import CTConfig, CustomConfig
from vae3d.errors import ConfigError, VolumeError
from vae3d.scans.volume import Volume
from vae3d.values import intensity
from vae3d.values.intensity import IntensityContract, IntensityRange, current_units
from vae3d.values.voxel_statistics import VoxelStatistics

WINDOW = IntensityRange(-200.0, 600.0, "HU")


def volume(values: Any) -> Volume:
    data = torch.as_tensor(values).reshape(1, 1, 1, -1)
    return Volume(data, np.eye(4), "case")


def test_the_range_becomes_minus_one_to_one() -> None:
    values = torch.tensor([-1000, -200, 0, 200, 400, 600, 1400], dtype=torch.int16)
    assert WINDOW.span == 800
    assert WINDOW.to_model(values).tolist() == [-1, -1, -0.5, 0, 0.5, 1, 1]
    assert WINDOW.to_model(values, clip=False).tolist() == [-3, -1, -0.5, 0, 0.5, 1, 3]
    assert WINDOW.clipped(values).tolist() == [-200, -200, 0, 200, 400, 600, 600]
    assert WINDOW.from_model(torch.tensor([-1.0, -0.5, 0, 1, 2])).tolist() == [
        -200, 0, 200, 600, 1000,
    ]  # fmt: skip
    assert WINDOW.to_model(values).dtype == WINDOW.clipped(values).dtype == torch.float32


def test_the_input_is_not_changed() -> None:
    values = torch.linspace(-1000, 1000, 9)
    before = values.clone()
    for way in (WINDOW.to_model, WINDOW.from_model, WINDOW.clipped):
        assert way(values).data_ptr() != values.data_ptr()
        assert torch.equal(values, before)
    assert WINDOW.from_model(values, copy=False).data_ptr() == values.data_ptr()


def test_chunks_and_strides_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.randn(7, 5, 6, generator=torch.Generator().manual_seed(0)) * 500
    whole = WINDOW.to_model(values), WINDOW.from_model(values)
    monkeypatch.setattr(intensity, "PORTION", 11)
    for view in (values, values.transpose(0, 2).contiguous().transpose(0, 2), values[:, ::1]):
        assert torch.equal(WINDOW.to_model(view), whole[0])
        assert torch.equal(WINDOW.from_model(view), whole[1])
    assert torch.equal(WINDOW.to_model(values[::2, 1:]), whole[0][::2, 1:])


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_a_contract_returns_the_range_of_a_scan(dtype: torch.dtype) -> None:
    scan = volume(torch.arange(201, dtype=dtype))
    window = IntensityContract("window", -3.0, 7.0, "HU")
    assert window.range_of(scan.data.numpy(), scan.case_id) == IntensityRange(-3.0, 7.0, "HU")
    parts = IntensityContract("percentiles", 5.0, 99.5, "a.u.")
    assert parts.range_of(scan.data.numpy(), scan.case_id) == IntensityRange(10.0, 199.0, "a.u.")
    statistics = VoxelStatistics.of(scan.data.numpy(), 0)
    for contract in (window, parts):
        assert contract.range_from_statistics(statistics, "case") == contract.range_of(
            scan.data.numpy(), scan.case_id
        )
    for low, high in ((3.0, 99.5), (5.0, 97.0)):
        other = IntensityContract("percentiles", low, high, "a.u.")
        assert other.range_from_statistics(statistics, "case") is None, (
            "not among the stored percentiles"
        )
    described = {"kind": "percentiles", "low": 5.0, "high": 99.5, "unit": "a.u."}
    assert parts.describe() == described


def test_percentiles_that_coincide_are_refused() -> None:
    even = volume(torch.tensor([0.0] * 99 + [1.0]))
    contract = IntensityContract("percentiles", 1.0, 90.0, "a.u.")
    for find in (
        lambda: contract.range_of(even.data.numpy(), even.case_id),
        lambda: contract.range_from_statistics(VoxelStatistics.of(even.data.numpy(), 0), "case"),
    ):
        with pytest.raises(VolumeError, match=r"case: percentiles 1\.0 and 90\.0 are both 0"):
            find()


def test_impossible_contracts_are_refused() -> None:
    IntensityContract("percentiles", 0.0, 100.0, "")
    for wrong in (("hounsfield", 0.0, 1.0), ("window", 1.0, 1.0), ("window", 2.0, 1.0),
                  ("percentiles", -0.5, 99.0), ("percentiles", 0.5, 100.5),
                  # float32 has no such numbers.
                  ("window", -1000.0, 1e300), ("window", -1e38, 0.0), ("window", 0.0, 1e-40),
                  ("window", 0.0, float("inf")), ("window", float("nan"), 1.0)):  # fmt: skip
        with pytest.raises(ConfigError):
            IntensityContract(*wrong, "")


def test_units_of_earlier_versions_are_arbitrary_units() -> None:
    earlier = IntensityContract("percentiles", 0.0, 99.5, "intensity")
    assert earlier == IntensityContract("percentiles", 0.0, 99.5, "a.u.")
    assert IntensityContract("window", 0.0, 9.0, "g/cm3").unit == "g/cm3"
    protocol = {
        "scores": {"mae": "intensity", "mse": "intensity^2", "mae/bone": "HU"},
        "data_range": "[0, 255] intensity",
        "crop": [1, 2],
        "floor": "the intensity",
    }
    assert current_units(protocol) == {
        "scores": {"mae": "a.u.", "mse": "a.u.^2", "mae/bone": "HU"},
        "data_range": "[0, 255] a.u.",
        "crop": [1, 2],
        "floor": "the intensity",
    }


def test_the_unit_of_a_window_can_be_named() -> None:
    assert CTConfig(window=(0.0, 2.0), unit="g/cm3").values_unit == "g/cm3"
    for unit in ("", "two words", "a\nb", "$x$", "u" * 21):
        with pytest.raises(ConfigError, match="one word"):
            CTConfig(unit=unit)
        with pytest.raises(ConfigError, match="one word"):
            CustomConfig(unit=unit)
