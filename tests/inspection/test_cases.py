"""Reports on what is unusual about a case, word for word."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.data.config import CTConfig, SourceData
from vae3d.data.loaded import LoadedCases
from vae3d.errors import DataError, VolumeError
from vae3d.inspection.cases import CaseReport, inspect_cases
from vae3d.patching.config import WholeVolumeConfig
from vae3d.scans.orientation import orientation_of
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values.intensity import IntensityContract

WINDOW = IntensityContract("window", -1000.0, 1000.0, "HU")


def turned(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def volume(
    values: Any = (-1000.0, 0.0, 500.0, 800.0), spacing: Any = (1, 1, 1), angle: float = 0.0
) -> Volume:
    data = torch.as_tensor(values, dtype=torch.float32).reshape(1, 1, 2, -1)
    geometry = SourceGeometry(Path("a.nii"), tuple(data.shape[1:]), turned(angle), "float32")
    return Volume(data, np.diag([*map(float, spacing), 1.0]), "case", geometry)


class FixedSource(CaseSource):
    """A source of fixed volumes and splits; a volume that is None cannot be read."""

    def __init__(
        self, volumes: list[Volume | None], splits: list[str], contract: IntensityContract
    ) -> None:
        names = [f"case{number}" for number in range(len(volumes))]
        super().__init__(3, contract, names, [*splits])
        self.volumes = volumes

    def read(self, index: int) -> Volume:
        volume = self.volumes[index]
        if volume is None:
            raise VolumeError("scan.nii", "is gone")
        return replace(volume, case_id=self.case_ids[index])


def reports(
    volumes: list[Volume | None],
    patch: tuple[int, ...] | None = None,
    splits: list[str] | None = None,
    contract: IntensityContract = WINDOW,
) -> list[CaseReport]:
    source = FixedSource(volumes, splits or ["train"] * len(volumes), contract)
    return inspect_cases(LoadedCases(source, SourceData(nonfinite="fill")), patch)


def odd(one: Volume, **options: Any) -> list[str]:
    return reports([one], **options)[0].odd


def test_an_ordinary_case_is_reported_as_it_is() -> None:
    (report,) = reports([volume()], patch=(1, 2, 2))
    assert (report.case_id, report.split, report.usable, report.odd) == (
        "case0",
        "train",
        True,
        [],
    )
    assert (report.shape, report.voxels, report.spacing) == ((1, 2, 2), 4, (1.0, 1.0, 1.0))
    assert (report.minimum, report.maximum, report.filled) == (-1000, 800, 0)
    assert report.orientation == "RAS"
    assert len(report.digest) == 32


@pytest.mark.parametrize(
    ("one", "messages"),
    [
        (volume(spacing=(5, 1, 2)), []),
        (volume(spacing=(5.1, 1, 2)), ["voxels are far from cubes"]),
        (volume(angle=4.9), []),
        (volume(angle=5.6), ["oblique by 6 degrees"]),
        (volume((-1000.0, float("nan"), 5.0, 8.0)), ["1 voxels were NaN or Inf"]),
        (volume((-499.0, 0.0, 1.0, 2.0)), ["no air: are these Hounsfield units?"]),
        (volume((-500.0, 0.0, 1.0, 2.0)), []),
        (volume((-3000.0, -2000.0, -1500.0, -1000.0)),
         ["all values are outside the intensity range"]),
        (volume([-1200.0] * 90 + [-999.0] * 10), []),
        (volume([-1200.0] * 96 + [0.0] * 2), ["95 % of the voxels are below the intensity range"]),
        (volume((1000.0, 1001.0, 1002.0, 1003.0)),
         ["no air: are these Hounsfield units?", "all values are outside the intensity range"]),
        (volume([-800.0] * 2 + [1000.0] * 96),
         ["95 % of the voxels are above the intensity range"]),
        (volume([-800.0] * 5 + [1000.0] * 93), []),
    ],
)  # fmt: skip
def test_what_is_odd_is_reported(one: Volume, messages: list[str]) -> None:
    assert odd(one) == messages


def test_thin_cases_and_other_units() -> None:
    assert odd(volume(), patch=(2, 2, 2)) == ["thinner than a patch: padded"]
    assert odd(volume(), patch=(1, 2, 3)) == ["thinner than a patch: padded"]
    intensity = IntensityContract("percentiles", 0.0, 100.0, "a.u.")
    assert odd(volume((1.0, 2.0, 3.0, 4.0)), contract=intensity) == []


def test_what_cannot_be_used_is_reported_too() -> None:
    reported = reports([volume(), None], splits=["val", "train"])
    assert [report.case_id for report in reported] == ["case0", "case1"]
    assert reported[1].odd == ["cannot be used: is gone"]
    assert (reported[1].usable, reported[1].voxels, reported[1].split) == (False, 0, "train")
    assert [report.odd for report in reports([None])] == [["cannot be used: is gone"]]


def test_duplicates_and_outliers_are_reported() -> None:
    other = (-1000.0, 1.0, 2.0, 3.0)
    reported = reports(
        [volume(), volume(other), volume(), volume(other), volume((-1000.0, 7.0, 8.0, 9.0))],
        splits=["train", "train", "test", "train", "val"],
    )
    assert [report.odd for report in reported] == [
        ["same voxels as case2 of another split"], ["same voxels as case3"],
        ["same voxels as case0 of another split"], ["same voxels as case1"], [],
    ]  # fmt: skip
    for spacing, far in (((2, 1, 1), False), ((2.1, 1, 1), True), ((1, 0.5, 1), False),
                         ((1, 0.49, 1), True)):  # fmt: skip
        values = [(-1000.0, 1.0, 2.0, float(number)) for number in range(3, 6)]
        (*_, last) = reports(
            [volume(values[0]), volume(values[1]), volume(values[2], spacing=spacing)]
        )
        assert last.odd == (["spacing far from the others'"] if far else [])


def test_axis_codes_and_the_oblique_angle() -> None:
    assert orientation_of(np.diag([-1.0, -2.0, 3.0, 1.0])) == ("LPS", 0.0)
    codes, lean = orientation_of(turned(30.0))
    assert (codes, round(lean, 6)) == ("RAS", 30.0)
    assert orientation_of(np.diag([2.0, 1, 1, 1])[[1, 0, 2, 3]])[0] == "ARS"


@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_without_a_readable_case_the_first_is_named(tmp_path: Path, on_error: str) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    data = CTConfig(
        root=str(tmp_path), store=None, val_fraction=0, test_fraction=0, on_error=on_error
    )
    with pytest.raises(DataError, match=r"none of 1 case of train .*a\.nii\.gz: is "):
        inspect(InspectConfig(data=data, output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_patients_are_counted_by_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for patient in range(4):
        for visit in range(3):
            data = np.random.default_rng(10 * patient + visit).integers(-900, 900, (4, 4, 4))
            path = tmp_path / f"scans/p{patient}/v{visit}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(data.astype(np.int16), np.eye(4)), path)
    for store in (None, str(tmp_path / "store")):
        data = CTConfig(
            root=str(tmp_path / "scans"), store=store, fold="0/4", group="^([^/]+)/",
            val_fraction=0.25,
        )  # fmt: skip
        output = tmp_path / f"out_{store is None}"
        caplog.clear()
        inspect(InspectConfig(data=data, output=str(output), patching=WholeVolumeConfig()))
        summary = json.loads((output / "summary.json").read_text())
        assert summary["patients"] == {"train": 2, "val": 1, "test": 1}
        assert summary["cases"] == {"train": 6, "val": 3, "test": 3}
        assert "train 6 cases of 2 patients, 6 patches" in caplog.text + capsys.readouterr().err
