"""A file that is damaged, has a false header or is no scan is refused by name."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.nifti_files import raw_file, save_scan
from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.volume import Volume
from vae3d.scans.voxels import check_size


def _set(**fields: Any) -> Callable[[Any], None]:
    def edit(header: Any) -> None:
        for name, value in fields.items():
            header[name] = value

    return edit


def _affine(matrix: np.ndarray) -> Callable[[Any], None]:
    return _set(sform_code=1, srow_x=matrix[0], srow_y=matrix[1], srow_z=matrix[2])


HEADERS: list[tuple[Callable[[Any], None], str]] = [
    (_set(dim=[3, 9, 0, 7, 1, 1, 1, 1]), "holds no image"),
    (_set(dim=[3, 9, -12, 7, 1, 1, 1, 1]), "holds no image"),
    (_set(dim=[0] * 8), "holds no image"),
    (_set(dim=[3, 9, 12, 8, 1, 1, 1, 1]), "is truncated"),
    (_set(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), "is truncated"),
    (_set(dim=[7] + [32767] * 7), "split it into 3D scans"),
    (_set(dim=[5, 9, 2, 2, 3, 7, 1, 1]), "split it into 3D scans"),
    (_set(sform_code=0, pixdim=[1, 1, 0, 1, 1, 1, 1, 1]), "voxels of size"),
    (_set(sform_code=0, pixdim=[1, 1, np.nan, 1, 1, 1, 1, 1]), "not finite"),
    (_affine(np.full((3, 4), np.nan)), "not finite"),
    (_affine(np.ones((3, 4))), "singular"),
    (_affine(np.zeros((3, 4))), "singular"),
    (_set(datatype=1234), "no readable NIfTI"),
    (_set(vox_offset=np.nan), "no readable NIfTI"),
    (_set(vox_offset=1e9), "is truncated"),
    (_set(scl_slope=1, scl_inter=np.inf), "no readable NIfTI"),
    (_set(scl_slope=3e38), "beyond 3.4e38"),
    (_set(magic=b"ni1"), "half of a NIfTI pair"),
    (_set(magic=b"n+7"), "no NIfTI file"),
]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("edit", "reason"), HEADERS)
def test_headers_that_make_no_sense_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, edit: Any, reason: str
) -> None:
    path = raw_file(tmp_path / f"a{suffix}", edit)
    with pytest.raises(VolumeError, match=reason) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = raw_file(tmp_path / f"a{suffix}", _set(dim=[3, 1500, 1500, 1500, 1, 1, 1, 1]))
        tracemalloc.start()
        with pytest.raises(VolumeError, match="truncated"):
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = raw_file(tmp_path / "a.nii", _set(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]))
    with path.open("r+b") as file:
        file.truncate(17 * 10**9)  # a sparse file: no block is written
    with pytest.raises(VolumeError, match="the limit is 8"):
        read_volume(path)


def test_files_that_are_no_scans_are_refused(tmp_path: Path) -> None:
    plain = save_scan(tmp_path / "good.nii").read_bytes()
    contents = {
        "empty.nii": b"",
        "text.nii": b"404 not found " * 99,
        "text.nii.gz": b"<html>",
        "short.nii": plain[:100],
        "plain.nii.gz": plain,
        "packed.nii": gzip.compress(plain),
        "hollow.nii.gz": gzip.compress(b""),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.nii").mkdir()
    (tmp_path / "dangling.nii").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.nii").symlink_to(tmp_path / "loop.nii")
    for name in (*contents, "folder.nii", "dangling.nii", "loop.nii", "missing.nii", "good.xyz"):
        with pytest.raises(VolumeError, match=name):
            read_volume(tmp_path / name)


def test_damage_to_a_gzip_file_never_loads(tmp_path: Path) -> None:
    path = save_scan(tmp_path / "a.nii.gz")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(30, len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(VolumeError):
            read_volume(path)
    for length in (*rng.integers(1, len(whole), 20), len(whole) - 8, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(VolumeError):
            read_volume(path)


def test_what_trails_an_image_is_bounded(tmp_path: Path) -> None:
    path = save_scan(tmp_path / "a.nii")
    content = path.read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(content + bytes(2**20)))
    assert torch.equal(read_volume(packed).data, read_volume(path).data)
    packed.write_bytes(gzip.compress(content + bytes(2**25)))
    with pytest.raises(VolumeError, match="16 MiB"):
        read_volume(packed)


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="float32"):
        read_volume(save_scan(tmp_path / "a.nii", np.full((2, 2, 2), 1e300)))
    infinite = np.array([np.inf, np.nan, 0, 1]).reshape(2, 2, 1)
    assert torch.isinf(read_volume(save_scan(tmp_path / "b.nii", infinite)).data).sum() == 1


def test_messages_for_what_is_no_file(tmp_path: Path) -> None:
    for name, content in (("empty.nii", b""), ("short.nii", b"x"), ("short.png", b"x")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.nii").mkdir()
    for name, message in (
        ("missing.nii", "does not exist"),
        ("folder.nii", "is a folder, not a file"),
        ("empty.nii", r"is empty \(0 bytes\)"),
        ("short.nii", "(?!.*empty)"),
        ("short.png", "is damaged or not in its suffix's format"),
        ("a.txt", "has no suffix of a scan"),
    ):
        with pytest.raises(VolumeError, match=message):
            read_volume(tmp_path / name)


def test_no_more_is_decoded_than_there_is_and_than_8_gib(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    check_size(path, 100, 100)
    with pytest.raises(VolumeError, match="promises 101 bytes, the file holds at most 100"):
        check_size(path, 101, 100)
    check_size(path, 8 * 2**30, 2**40)
    with pytest.raises(VolumeError, match="the limit is 8"):
        check_size(path, 8 * 2**30 + 1, 2**40)


@pytest.mark.parametrize("side", [1, 24, 52, 64, 96])
def test_the_tightest_packed_scan_is_read(tmp_path: Path, side: int) -> None:
    """Zeros compress best: such a file must not be refused as truncated."""
    voxels = np.zeros((side, side, side), np.int16)
    path = save_scan(tmp_path / "a.nii", voxels)
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes(), 9))
    assert read_volume(packed).shape == (side, side, side)


def test_whatever_a_reader_raises_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, **options: Any) -> Volume:
        raise KeyError("image")

    path = tmp_path / "a.nii"
    path.write_bytes(b"any")
    monkeypatch.setattr("vae3d.scans.nifti.read_nifti", broken)
    with pytest.raises(VolumeError, match=r"a\.nii: cannot be read \('image'\)"):
        read_volume(path)


@pytest.mark.parametrize(("affine", "reason"), [(0.0, "singular"), (np.nan, "not finite")])
def test_the_affine_of_every_format_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, affine: float, reason: str
) -> None:
    def odd(path: Path, *, channel: int | None, case_id: str) -> Volume:
        return Volume(torch.zeros(1, 2, 2), np.diag([1, affine, 1]), case_id)

    path = tmp_path / "a.png"
    path.write_bytes(b"any")
    monkeypatch.setattr("vae3d.scans.image.read_image", odd)
    with pytest.raises(VolumeError, match=rf"a\.png: has .*{reason}"):
        read_volume(path)
