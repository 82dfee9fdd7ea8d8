"""Laws of writing: round trips on the scan's own grid, and no partial files."""

import gzip
import io
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from vae3d.errors import VolumeError
from vae3d.scans import nifti
from vae3d.scans.files import read_volume, write_volume
from vae3d.scans.orientation import Orientation
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values import file_types

OBLIQUE = np.array(
    [[-0.9, 0.1, 0.2, 40.0], [0.05, 0.2, -2.9, -7.0], [0.1, 1.2, 0.3, 11.0], [0, 0, 0, 1]]
)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """An oblique scan of int16 in an odd axis order."""
    voxels = np.random.default_rng(0).integers(-1000, 2000, (9, 12, 7)).astype(np.int16)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(voxels, OBLIQUE), path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_a_scan_is_written_on_its_own_grid(scan: Path, tmp_path: Path, suffix: str) -> None:
    volume = read_volume(scan)
    write_volume(volume, tmp_path / f"out{suffix}", dtype="int16")
    first, second = nibabel.load(scan), nibabel.load(tmp_path / f"out{suffix}")
    assert np.array_equal(first.get_fdata(), second.get_fdata())
    assert np.array_equal(first.affine, second.affine)
    again = read_volume(tmp_path / f"out{suffix}")
    assert torch.equal(again.data, volume.data)
    assert again.data.dtype == torch.int16
    assert np.array_equal(again.affine, volume.affine)


def test_a_resampled_scan_is_written_on_its_own_grid(scan: Path, tmp_path: Path) -> None:
    volume = resample_to_spacing(read_volume(scan), (1.5, 1.5, 1.5))
    assert volume.shape != read_volume(scan).shape
    write_volume(volume, tmp_path / "out.nii.gz")
    image = nibabel.load(tmp_path / "out.nii.gz")
    assert image.shape == (9, 12, 7)
    assert np.array_equal(image.affine, nibabel.load(scan).affine)
    assert image.get_data_dtype() == np.float32


def test_a_crop_of_a_scan_keeps_its_own_grid(scan: Path, tmp_path: Path) -> None:
    volume = read_volume(scan)
    shift = np.eye(4)
    shift[:3, 3] = (2, 1, 3)
    part = replace(
        volume, data=volume.data[:, 2:6, 1:5, 3:7].float(), affine=volume.affine @ shift
    )
    write_volume(part, tmp_path / "part.nii")
    again = read_volume(tmp_path / "part.nii")
    assert torch.equal(again.data.float(), part.data)
    assert np.allclose(again.affine, part.affine, atol=1e-5)


@pytest.mark.parametrize(("voxels", "same"), [(0.005, True), (0.02, False), (0.5, False)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_field_of_view_is_the_scans_to_a_hundredth_of_a_voxel(
    scan: Path, tmp_path: Path, voxels: float, same: bool, axis: int
) -> None:
    volume = read_volume(scan)
    for sign in (-voxels, voxels):
        shift = np.eye(4)
        shift[axis, 3] = sign
        moved = replace(volume, affine=volume.affine @ shift)
        write_volume(moved, tmp_path / "moved.nii")
        written = read_volume(tmp_path / "moved.nii").affine
        assert np.allclose(written, volume.affine if same else moved.affine, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32"])
def test_files_written_slab_by_slab_are_those_of_the_whole_array(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, channels: int
) -> None:
    # Two planes a slab, and a last one of one plane.
    monkeypatch.setattr(file_types, "SLAB_VOXELS", 2 * 9 * 12)
    volume = read_volume(scan)
    values = torch.cat([volume.data.float() + 0.37 * n for n in range(channels)])
    write_volume(replace(volume, data=values), tmp_path / "a.nii", dtype=dtype)
    write_volume(replace(volume, data=values), tmp_path / "a.nii.gz", dtype=dtype)
    write_volume(replace(volume, data=values), tmp_path / "a.npy", dtype=dtype)

    stored: Any = values.numpy()
    if dtype != "float32":
        limits = np.iinfo(dtype)
        stored = np.clip(np.rint(stored), limits.min, limits.max)
    stored = stored.astype(dtype)
    orientation = Orientation.of(nibabel.load(scan).affine)
    undone = [orientation.undo(channel) for channel in stored]
    array = np.stack(undone, axis=-1) if channels > 1 else undone[0]
    header = nibabel.load(scan).header
    header.set_data_dtype(dtype)
    whole = io.BytesIO()
    nibabel.Nifti1Image(array, None, header).to_stream(whole)
    assert (tmp_path / "a.nii").read_bytes() == whole.getvalue()
    zipped = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=zipped, mtime=0) as stream:
        stream.write(whole.getvalue())
    assert (tmp_path / "a.nii.gz").read_bytes() == zipped.getvalue()
    saved = io.BytesIO()
    np.save(saved, stored if channels > 1 else stored[0])
    assert (tmp_path / "a.npy").read_bytes() == saved.getvalue()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy"])
@pytest.mark.parametrize("axes", [(2, 1, 0), (0, 1, 2)])
def test_writing_takes_no_second_volume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, axes: tuple[int, ...]
) -> None:
    monkeypatch.setattr(file_types, "SLAB_VOXELS", 2**16)
    affine = np.eye(4)[[*axes, 3]]
    shape = tuple((160, 128, 128)[axis] for axis in Orientation.of(affine).axes)
    map_ = affine @ Orientation.of(affine).index_map(shape)
    source = SourceGeometry(tmp_path / "scan.nii", shape, affine, "int16")
    volume = Volume(torch.zeros(1, 160, 128, 128), map_, "case", source)
    write_volume(volume, tmp_path / f"a{suffix}", dtype="source")  # imports the writer
    tracemalloc.start()
    try:
        write_volume(volume, tmp_path / f"a{suffix}", dtype="source")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of all integers this would be 5 MiB.
    assert peak < 1.5 * 2**20


def test_a_volume_without_a_source_is_written_as_x_y_z(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 2.0, -5], [0, 1.5, 0, 3], [3.0, 0, 0, 7], [0, 0, 0, 1]])
    data = torch.randn(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    write_volume(Volume(data, affine, "case"), tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert image.shape == (6, 5, 4)
    assert np.array_equal(np.diag(image.affine), [2, 1.5, 3, 1])
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    again = read_volume(tmp_path / "a.nii.gz")
    assert torch.equal(again.data, data)
    assert np.array_equal(again.affine, affine)


def test_channels_become_the_fourth_axis(tmp_path: Path) -> None:
    data = torch.arange(48.0).reshape(2, 2, 3, 4)
    write_volume(Volume(data, np.eye(4)[[2, 1, 0, 3]], "case"), tmp_path / "a.nii")
    for channel in range(2):
        again = read_volume(tmp_path / "a.nii", channel=channel)
        assert torch.equal(again.data[0], data[channel])


@pytest.mark.parametrize(
    ("length", "kind"), [(32767, nibabel.Nifti1Image), (32768, nibabel.Nifti2Image)]
)
def test_an_axis_longer_than_nifti_1_counts_is_nifti_2(
    tmp_path: Path, length: int, kind: type
) -> None:
    data = torch.zeros(1, 1, 1, length)
    write_volume(Volume(data, np.eye(4), "case"), tmp_path / "a.nii", dtype="uint8")
    image = nibabel.load(tmp_path / "a.nii")
    assert type(image) is kind
    assert image.shape == (length, 1, 1)


def test_integers_are_rounded_and_clipped(tmp_path: Path) -> None:
    data = torch.tensor([-1e9, -1.6, 0.4, 0.6, 1e9, float("inf")]).reshape(1, 1, 2, 3)
    volume = Volume(data, np.eye(4)[[2, 1, 0, 3]], "case")
    write_volume(volume, tmp_path / "a.nii", dtype="int16")
    again = read_volume(tmp_path / "a.nii")
    assert again.data.flatten().tolist() == [-32768, -2, 0, 1, 32767, 32767]
    with pytest.raises(VolumeError, match="NaN"):
        write_volume(replace(volume, data=data * float("nan")), tmp_path / "b.nii", dtype="int16")


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        ("png", "uint8"),
        ("png", "uint16"),
        ("tiff", "float32"),
        ("tiff", "uint16"),
        ("npy", "float32"),
        ("npy", "int16"),
    ],
)
def test_images_survive_a_round_trip(tmp_path: Path, suffix: str, dtype: str) -> None:
    data = torch.arange(200.0).reshape(1, 10, 20)
    write_volume(Volume(data, np.eye(3), "case"), tmp_path / f"a.{suffix}", dtype=dtype)
    again = read_volume(tmp_path / f"a.{suffix}")
    assert torch.equal(again.data.float(), data)
    assert again.source is not None
    assert again.source.dtype == dtype
    assert np.array_equal(again.affine, np.eye(3))


def test_a_3d_array_survives_a_round_trip(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    volume = read_volume(tmp_path / "a.npy")
    for name in ("b.npy", "c.nii.gz"):
        write_volume(volume, tmp_path / name)
        again = read_volume(tmp_path / name)
        assert torch.equal(again.data, volume.data)
        assert np.array_equal(again.affine, volume.affine)


def test_a_failed_write_leaves_the_old_file(scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, before = read_volume(scan), scan.read_bytes()

    def fail(*_: object) -> Iterator[Any]:
        yield np.zeros(3, np.float32)
        raise OSError("disk full")

    monkeypatch.setattr(nifti, "converted_slabs", fail)
    with pytest.raises(OSError, match="disk full"):
        write_volume(volume, scan)
    assert scan.read_bytes() == before
    assert [p.name for p in scan.parent.iterdir()] == [scan.name]


def test_equal_volumes_are_written_as_equal_bytes(scan: Path, tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(read_volume(scan), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "dtype", "reason"),
    [
        ("a.jpg", None, "no suffix to write"),
        ("a.png", None, "cannot hold shape"),
        ("a.nii", "float16", "dtype must be one of"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, dtype: str | None, reason: str
) -> None:
    volume = Volume(torch.zeros(1, 2, 2, 2), np.eye(4), "case")
    with pytest.raises(VolumeError, match=reason):
        write_volume(volume, tmp_path / name, dtype=dtype)
