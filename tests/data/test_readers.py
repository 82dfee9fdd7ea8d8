"""Laws of reading scans: one canonical orientation, values as they were stored."""

import itertools
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from tests.data.nifti_files import VOXELS, raw_file, save_scan
from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.formats import is_scan

RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@pytest.fixture(scope="session")
def scans() -> Path:
    """The folder of real scans; tests that need it are skipped without one."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("VAE3D_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip("no real scans: set VAE3D_TEST_DATA")
    return folder


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
    volume = read_volume(save_scan(tmp_path / "a.nii", voxels))
    assert volume.data.dtype == expected
    assert volume.data.double().max() == top


def test_scaling_is_applied(tmp_path: Path) -> None:
    def scaled(header: Any) -> None:
        header["scl_slope"], header["scl_inter"] = 0.5, -3

    volume = read_volume(raw_file(tmp_path / "a.nii", scaled))
    assert volume.data.dtype == torch.float32
    assert np.array_equal(volume.data[0].numpy(), VOXELS.transpose(2, 1, 0) * 0.5 - 3)


@pytest.mark.parametrize("shape", [(9, 12), (9, 12, 1), (9, 12, 1, 1)])
def test_a_2d_scan_has_one_slice(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = read_volume(save_scan(tmp_path / "a.nii", VOXELS[:, :, 0].reshape(shape)))
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
        path = save_scan(tmp_path / "a.nii.gz", voxels)
        volume = read_volume(path, channel=channel)
        assert np.array_equal(volume.data[0].numpy(), expected.transpose(2, 1, 0))
        with pytest.raises(VolumeError, match=r"data\.channel must be from 0 to"):
            read_volume(path, channel=7)
        if voxels.size > VOXELS.size or voxels.dtype in (RGB, np.complex64):
            with pytest.raises(VolumeError, match=r"choose it with data\.channel=K"):
                read_volume(path)


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


def test_a_case_is_called_like_its_file_unless_it_is_named(tmp_path: Path) -> None:
    path = save_scan(tmp_path / "case_01.b.NII.gz")
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
