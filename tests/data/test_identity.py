"""A scan is known by what it holds: in files, stores and memory, whatever it is called."""

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CTConfig, MRIConfig
from vae3d.data.run_cases import RunCases, check_splits, listed
from vae3d.errors import DataError
from vae3d.logger.console import ProgressBar
from vae3d.scans.files import read_volume
from vae3d.scans.volume import Volume, checked
from vae3d.values.identity import SAMPLES, ScanIdentity

SHAPE = (9, 8, 7)
SILENT = ProgressBar("prepare", shown=False)


def voxels(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1000, 1000, SHAPE).astype(np.int16)


def write(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def identity(path: Path) -> ScanIdentity:
    found = read_volume(path).identity
    assert found is not None
    return found


def test_it_does_not_depend_on_the_file(tmp_path: Path) -> None:
    """Another name, type, compression, axis order or memory layout is the same scan."""
    known = identity(write(tmp_path / "a.nii.gz", voxels()))
    assert identity(write(tmp_path / "b.nii", voxels().astype(np.float64))) == known
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = SHAPE[0] - 1
    assert identity(write(tmp_path / "c.nii", voxels()[::-1], flipped)) == known
    swapped = np.eye(4)[[2, 1, 0, 3]]
    assert identity(write(tmp_path / "d.nii", voxels().transpose(2, 1, 0), swapped)) == known


@pytest.mark.parametrize("place", [(0, 0, 0), (8, 7, 6), (4, 3, 2)])
def test_any_voxel_of_a_small_scan_counts(place: tuple[int, ...]) -> None:
    assert np.prod(SHAPE) < SAMPLES
    known = ScanIdentity.of(voxels()[None], np.eye(4))
    other = voxels()[None]
    other[(0, *place)] += 1
    changed = ScanIdentity.of(other, np.eye(4))
    assert changed.voxels != known.voxels
    assert changed.geometry == known.geometry


def test_samples_of_a_large_scan_are_spread_over_all_channels_and_axes() -> None:
    shape = (3, 40, 50, 60)
    known = ScanIdentity.of(np.zeros(shape, np.float32), np.eye(4)).voxels
    for axis, length in enumerate(shape):
        for cell in np.array_split(np.arange(length), 3):
            part = np.zeros(shape, np.float32)
            part.swapaxes(0, axis)[cell] = 1
            assert ScanIdentity.of(part, np.eye(4)).voxels != known, (axis, cell)


def test_shape_and_place_count() -> None:
    known = ScanIdentity.of(voxels()[None], np.eye(4))
    reshaped = ScanIdentity.of(voxels()[None].reshape(1, 8, 9, 7), np.eye(4))
    assert reshaped.voxels != known.voxels
    moved = ScanIdentity.of(voxels()[None], np.diag([1, 1, 1.01, 1]))
    assert (moved.voxels, moved.geometry == known.geometry) == (known.voxels, False)
    assert ScanIdentity.of(voxels()[None], np.eye(4) + 1e-7) == known


def test_nan_and_zero_have_one_pattern_and_are_known_before_they_are_filled() -> None:
    data = voxels().astype(np.float32)[None]
    data[0, 0, 0, :3] = np.nan, 0.0, 5
    other = data.copy()
    other.view(np.uint32)[0, 0, 0, 0] = 0x7FC00001
    other[0, 0, 0, 1] = -0.0
    known = ScanIdentity.of(data, np.eye(4))
    assert ScanIdentity.of(other, np.eye(4)) == known
    filled, count = checked(Volume(torch.from_numpy(data), np.eye(4), "a"), "fill")
    assert (count, filled.identity) == (1, known)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    for seed in range(6):
        write(tmp_path / f"scans/c{seed}.nii.gz", voxels(seed))
    return tmp_path / "scans"


def opened(root: Path, store: Path | None, **values: object) -> Cases:
    data = CTConfig(root=str(root), store=store and str(store), **values)  # type: ignore[arg-type]
    cases = open_cases(data, SILENT)
    for split in cases.splits:
        if cases.splits[split].size:
            cases.survey(split)
    return cases


def test_files_stores_and_resampled_stores_agree(scans: Path, tmp_path: Path) -> None:
    loaded, stored = opened(scans, None), opened(scans, tmp_path / "store")
    coarse = opened(scans, tmp_path / "coarse", spacing=(2, 2, 2))
    for index in range(6):
        known = identity(scans / f"c{index}.nii.gz")
        for cases in (loaded, stored, coarse):
            assert cases.identity(index) == cases[index].identity == known
    assert coarse[0].shape != loaded[0].shape


def test_channels_that_are_chosen_count(tmp_path: Path) -> None:
    write(tmp_path / "a.nii", np.stack([voxels(0), voxels(1)], -1))
    first, second = (read_volume(tmp_path / "a.nii", channel=channel) for channel in (0, 1))
    assert first.identity is not None
    assert second.identity is not None
    assert first.identity.voxels == identity(write(tmp_path / "b.nii", voxels(0))).voxels
    assert second.identity.voxels == identity(write(tmp_path / "c.nii", voxels(1))).voxels


@pytest.mark.parametrize("stored", [False, True])
def test_a_changed_scan_of_the_same_size_and_time_is_noticed(
    stored: bool, scans: Path, tmp_path: Path
) -> None:
    """As `rsync -t` or an archive with fixed times leaves it; and two files that are swapped."""
    paths = [scans / f"c{seed}.nii" for seed in range(2)]
    for path in paths:
        write(path, voxels(int(path.stem[1])))
        os.utime(path, (1e9, 1e9))
    store = tmp_path / "store" if stored else None
    before = opened(scans, store)
    paths[0].rename(tmp_path / "x.nii")
    paths[1].rename(paths[0])
    (tmp_path / "x.nii").rename(paths[1])
    after = opened(scans, store)
    names = {after.case_id(i): i for i in after.split_of()}
    a, b = (names[name] for name in ("c0.nii", "c1.nii"))
    assert after.identity(a) == before.identity(b) != before.identity(a)
    assert np.array_equal(after[a].volume().data[0], voxels(1).T)
    everything = np.array(sorted(names.values()))
    assert after.fingerprint(everything) != before.fingerprint(everything)


def test_copies_are_in_one_split(scans: Path, tmp_path: Path) -> None:
    for name in "uvwxyz":
        shutil.copy(scans / "c0.nii.gz", scans / f"{name}.nii.gz")
    cases = opened(scans, tmp_path / "store", val_fraction=0.4, test_fraction=0.3)
    split = cases.split_of()
    names = {cases.case_id(index): index for index in split}
    assert len({split[names[name]] for name in ("c0", *"uvwxyz")}) == 1
    assert sum(members.size for members in cases.splits.values()) == 12


@pytest.mark.parametrize("stored", [False, True])
def test_one_scan_in_two_splits_of_a_list_is_refused(
    stored: bool, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(scans / "c0.nii.gz", scans / "copy.nii.gz")
    table = tmp_path / "list.csv"
    table.write_text(
        "path,split\nc0.nii.gz,train\nc1.nii.gz,val\nc2.nii.gz,test\ncopy.nii.gz,val\n"
    )
    cases = opened(scans, tmp_path / "store" if stored else None, list=str(table))
    with pytest.raises(DataError, match="c0 in train and copy in val"):
        check_splits(cases, resumes=False)
    check_splits(cases, resumes=True)
    assert "one scan is in two splits" in capsys.readouterr().err


def test_empty_splits_are_reported(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_splits(opened(scans, None, test_fraction=1e-9, val_fraction=1e-9), resumes=False)
    message = capsys.readouterr().err
    assert "no validation cases" in message
    assert "no test cases" in message
    assert "data.fold=K/N" in message
    check_splits(opened(scans, None, test_fraction=0, val_fraction=0), resumes=False)
    assert capsys.readouterr().err == "", "none were asked for"


def test_a_record_finds_cases_by_voxels_and_else_by_name(scans: Path, tmp_path: Path) -> None:
    cases = opened(scans, None)
    record = RunCases(listed(cases))
    record.write(tmp_path / "cases.csv")
    record = RunCases.read(tmp_path / "cases.csv")
    assert record.cases == [*listed(cases)]
    known, other = cases.identity(0), ScanIdentity("f" * 32, "e" * 32)
    assert record.find("renamed", known) == record.cases[0]
    assert record.find("c0", other) is None
    assert record.is_namesake("c0", other)
    assert record.find("c0", None) == record.cases[0], "not read yet"
    (tmp_path / "cases.csv").write_text("case_id,split\nc0,train\n")
    older = RunCases.read(tmp_path / "cases.csv")
    assert older.find("c0", other) == older.cases[0], "only its name is known"
    assert older.find("renamed", known) is None
    assert RunCases.read(tmp_path / "nothing.csv").cases == []


def test_mr_is_known_too(tmp_path: Path) -> None:
    write(tmp_path / "in/m.nii", voxels().astype(np.float32) / 3)
    data = MRIConfig(root=str(tmp_path / "in"), store=None, val_fraction=0, test_fraction=0)
    case = open_cases(data, SILENT)[0]
    assert case.identity == identity(tmp_path / "in/m.nii")
