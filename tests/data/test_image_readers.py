"""Laws of reading images and arrays: the order of rows, colours, ranks, and damage."""

from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
import torch

from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume

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
