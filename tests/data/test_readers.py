"""Laws of reading: one canonical orientation, and an error for every damaged file."""

import gzip
import itertools
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import nibabel
import numpy as np
import pytest
import tifffile
import torch

from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.formats import is_scan
from vae3d.scans.volume import Volume
from vae3d.scans.voxels import check_size

VOXELS = np.random.default_rng(0).integers(-1000, 2000, (9, 12, 7)).astype(np.int16)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.fixture(scope="session")
def scans() -> Path:
    """The folder of real scans; tests that need it are skipped without one."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("VAE3D_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real scans: set VAE3D_TEST_DATA")
    return folder


def _save(path: Path, voxels: np.ndarray = VOXELS, affine: np.ndarray | None = None) -> Path:
    kind = nibabel.Nifti1Image
    kind(voxels, np.eye(4) if affine is None else affine, dtype=voxels.dtype).to_filename(path)
    return path


def _raw(path: Path, edit: Callable[[Any], None], body: bytes = VOXELS.tobytes("F")) -> Path:
    """Write a file with a header changed by `edit`, as no library would write it."""
    header = nibabel.Nifti1Header()
    header.set_data_shape(VOXELS.shape)
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header.set_sform(np.eye(4), code=1)
    edit(header)
    content = header.structarr.tobytes() + bytes(4) + body
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_all_48_orientations_of_an_anatomy_read_the_same(tmp_path: Path) -> None:
    tilt = np.linalg.qr(np.eye(3) + 0.15 * np.random.default_rng(1).normal(size=(3, 3)))[0]
    tilt = tilt * np.sign(np.diag(tilt))
    affine = np.eye(4)
    affine[:3] = np.c_[tilt @ np.diag([0.9, 1.1, 3.0]), [10, -20, 30]]
    image = nibabel.Nifti1Image(VOXELS, affine, dtype=np.int16)
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            turned = image.as_reoriented(np.c_[axes, flips])
            turned.to_filename(tmp_path / "turned.nii")
            volume = read_volume(tmp_path / "turned.nii")
            assert np.array_equal(volume.data[0].numpy(), VOXELS.transpose(2, 1, 0))
            assert np.allclose(volume.affine, affine[:, [2, 1, 0, 3]], atol=1e-5)
            assert volume.source is not None
            assert volume.source.shape == turned.shape
            assert np.allclose(volume.source.affine, turned.affine, atol=1e-5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "A.NII.GZ", "ä b.nii"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_versions_names_and_byte_orders(tmp_path: Path, name: str, kind: Any, order: str) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(np.int16))
    kind(VOXELS, np.eye(4), header).to_filename(tmp_path / name)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.data[0].numpy(), VOXELS.transpose(2, 1, 0))
    assert volume.case_id == name.split(".")[0]


@pytest.mark.parametrize(
    ("dtype", "top", "expected"),
    [
        ("uint8", 255, torch.int16),
        ("uint16", 4095, torch.int16),
        ("uint16", 60000, torch.float32),
        ("int32", 3000, torch.int16),
        ("float64", 3, torch.float32),
    ],
)
def test_integers_that_fit_stay_integers(
    tmp_path: Path, dtype: str, top: int, expected: torch.dtype
) -> None:
    voxels = np.array([0, 1, 2, top], dtype).reshape(2, 2, 1)
    volume = read_volume(_save(tmp_path / "a.nii", voxels))
    assert volume.data.dtype == expected
    assert volume.data.double().max() == top


def test_scaling_is_applied(tmp_path: Path) -> None:
    def scaled(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -3

    volume = read_volume(_raw(tmp_path / "a.nii", scaled))
    assert volume.data.dtype == torch.float32
    assert np.array_equal(volume.data[0].numpy(), VOXELS.transpose(2, 1, 0) * 0.5 - 3)


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 12, 1, 1)])
def test_a_2d_scan_has_one_slice(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = read_volume(_save(tmp_path / "a.nii", VOXELS[:, :, 0].reshape(shape)))
    assert np.array_equal(volume.data[0, 0].numpy(), VOXELS[:, :, 0].T)


def test_a_channel_is_chosen_by_name(tmp_path: Path) -> None:
    series = np.stack([VOXELS, VOXELS + 1, VOXELS + 2], -1)
    colour = np.zeros(VOXELS.shape, RGB)
    colour["G"] = VOXELS % 251
    waves = (VOXELS + 1j * (VOXELS + 5)).astype(np.complex64)
    cases = [
        (series, 2, VOXELS + 2),
        (colour, 1, VOXELS % 251),
        (waves, 1, VOXELS + 5),
        (VOXELS[..., None, None], 0, VOXELS),
        (series[..., None, :], 1, VOXELS + 1),
    ]
    for voxels, channel, expected in cases:
        path = _save(tmp_path / "a.nii.gz", voxels)
        volume = read_volume(path, channel=channel)
        assert np.array_equal(volume.data[0].numpy(), expected.transpose(2, 1, 0))
        with pytest.raises(VolumeError, match=r"data\.channel must be from 0 to"):
            read_volume(path, channel=7)
        if voxels.size > VOXELS.size or voxels.dtype in (RGB, np.complex64):
            with pytest.raises(VolumeError, match=r"choose it with data\.channel=K"):
                read_volume(path)


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
    path = _raw(tmp_path / f"a{suffix}", edit)
    with pytest.raises(VolumeError, match=reason) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_header_that_promises_too_much_takes_no_memory(tmp_path: Path) -> None:
    for suffix in (".nii", ".nii.gz"):
        path = _raw(tmp_path / f"a{suffix}", _set(dim=[3, 1500, 1500, 1500, 1, 1, 1, 1]))
        tracemalloc.start()
        with pytest.raises(VolumeError, match="truncated"):
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**20


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    path = _raw(tmp_path / "a.nii", _set(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]))
    with path.open("r+b") as file:
        file.truncate(17 * 10**9)  # a sparse file: no block is written
    with pytest.raises(VolumeError, match="the limit is 8"):
        read_volume(path)


def test_files_that_are_no_scans_are_refused(tmp_path: Path) -> None:
    plain = _save(tmp_path / "good.nii").read_bytes()
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
    path = _save(tmp_path / "a.nii.gz")
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
    path = _save(tmp_path / "a.nii")
    content = path.read_bytes()
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(content + bytes(2**20)))
    assert torch.equal(read_volume(packed).data, read_volume(path).data)
    packed.write_bytes(gzip.compress(content + bytes(2**25)))
    with pytest.raises(VolumeError, match="16 MiB"):
        read_volume(packed)


def test_numbers_beyond_float32_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="float32"):
        read_volume(_save(tmp_path / "a.nii", np.full((2, 2, 2), 1e300)))
    infinite = np.array([np.inf, np.nan, 0, 1]).reshape(2, 2, 1)
    assert torch.isinf(read_volume(_save(tmp_path / "b.nii", infinite)).data).sum() == 1


GRAY = np.arange(200, dtype=np.uint8).reshape(10, 20)


@pytest.mark.parametrize("suffix", ["png", "tif", "npy", "PNG"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_images_keep_the_order_of_their_rows(tmp_path: Path, suffix: str, dtype: str) -> None:
    path, pixels = tmp_path / f"a.{suffix}", GRAY.astype(dtype)
    np.save(path, pixels) if suffix == "npy" else imageio.imwrite(path, pixels)
    volume = read_volume(path)
    assert volume.data.dtype == torch.int16
    assert np.array_equal(volume.data[0].numpy(), GRAY)
    assert np.array_equal(volume.affine, np.eye(3))


def test_a_jpeg_is_read(tmp_path: Path) -> None:
    imageio.imwrite(tmp_path / "a.jpeg", GRAY, quality=100)
    assert np.abs(read_volume(tmp_path / "a.jpeg").data[0].numpy() - GRAY).max() < 5


def test_a_float_tiff_is_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tiff", GRAY.astype(np.float32) - 0.5)
    assert np.array_equal(read_volume(tmp_path / "a.tiff").data[0].numpy(), GRAY - 0.5)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colours_must_be_gray_or_chosen(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    opaque = np.full_like(GRAY, 255)
    for channels in ([GRAY] * 3, [GRAY, GRAY, GRAY, opaque]):
        imageio.imwrite(path, np.stack(channels, -1))
        assert np.array_equal(read_volume(path).data[0].numpy(), GRAY)
    imageio.imwrite(path, np.stack([GRAY, GRAY + 1, GRAY + 2], -1))
    with pytest.raises(VolumeError, match=r"data\.channel=K"):
        read_volume(path)
    assert np.array_equal(read_volume(path, channel=1).data[0].numpy(), GRAY + 1)


def test_arrays_of_every_rank(tmp_path: Path) -> None:
    path, data = tmp_path / "a.npy", np.arange(48.0).reshape(2, 2, 3, 4)
    np.save(path, data)
    with pytest.raises(VolumeError, match=r"data\.channel=K"):
        read_volume(path)
    assert np.array_equal(read_volume(path, channel=1).data[0].numpy(), data[1])
    for array in (data[:1], data[0]):
        np.save(path, array)
        assert np.array_equal(read_volume(path).data[0].numpy(), data[0])
    for bad in (
        data[0, 0, 0],
        data[None],
        data.astype(complex),
        np.empty((0, 3)),
        np.array([[{}]], object),
    ):
        np.save(path, bad)
        with pytest.raises(VolumeError):
            read_volume(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "npy"])
def test_damaged_images_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    np.save(path, GRAY) if suffix == "npy" else imageio.imwrite(path, GRAY)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:9], b"404 not found"):
        path.write_bytes(content)
        with pytest.raises(VolumeError) as caught:
            read_volume(path)
        assert "\n" not in str(caught.value)


def test_a_stack_of_tiffs_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 10, 20), np.uint8), photometric="minisblack")
    with pytest.raises(VolumeError, match="one image"):
        read_volume(tmp_path / "a.tif")


def test_scans_are_recognised_by_their_names() -> None:
    assert all(map(is_scan, ["a.nii", "b/A.NII.GZ", "a.b.png", "x.JPEG", "x.tif", "x.npy"]))
    assert not any(
        map(is_scan, ["._a.nii.gz", ".a.nii", "a.nii.gz.part", "a.gz", "a.json", "nii"])
    )


@pytest.mark.scans
@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("odd/papaya_sample_image_MR.nii.gz", (151, 191, 161), torch.int16),
        ("odd/jnifti_headct_CT.nii.gz", (225, 256, 208), torch.float32),
        ("odd/longitudinal_raw_patient01_study1_FLAIR.nii.gz", (36, 320, 320), torch.int16),
        ("odd/totalsegmentator_example_CT.nii.gz", (112, 101, 122), torch.int16),
        ("mr/sub-01_T1w.nii.gz", (181, 288, 288), torch.float32),
    ],
)
def test_real_scans_agree_with_nibabel(
    scans: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    volume = read_volume(scans / name)
    image = nibabel.as_closest_canonical(nibabel.squeeze_image(nibabel.load(scans / name)))
    assert volume.shape == shape
    assert volume.data.dtype == dtype
    expected = np.asarray(image.get_fdata(dtype=np.float32)).transpose(2, 1, 0)
    assert np.allclose(volume.data[0].numpy(), expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(volume.affine, image.affine[:, [2, 1, 0, 3]])


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


def test_a_case_is_called_like_its_file_unless_it_is_named(tmp_path: Path) -> None:
    path = _save(tmp_path / "case_01.b.NII.gz")
    assert read_volume(path).case_id == "case_01.b"
    assert read_volume(path, case_id="mine").case_id == "mine"


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ((-32768, 32767), torch.int16), ((-32769, 5), torch.float32), ((-5, 32768), torch.float32),
        ((-40000, -39999), torch.float32),
    ],
)  # fmt: skip
def test_integers_are_int16_where_they_fit(
    tmp_path: Path, values: tuple[int, int], dtype: torch.dtype
) -> None:
    np.save(tmp_path / "a.npy", np.array([values], np.int32))
    data = read_volume(tmp_path / "a.npy").data
    assert data.dtype == dtype
    assert data.flatten().tolist() == [*values]


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
    path = _save(tmp_path / "a.nii", voxels)
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
