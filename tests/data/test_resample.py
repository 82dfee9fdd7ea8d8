"""Laws of resampling."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from vae3d.errors import VolumeError
from vae3d.scans.resample import averaged, resample_to_shape, resample_to_spacing
from vae3d.scans.volume import Volume


def _volume(shape: tuple[int, ...], spacing: tuple[float, ...]) -> Volume:
    rng = np.random.default_rng(0)
    dims = len(shape)
    affine = np.eye(dims + 1)
    rotation = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    affine[:dims, :dims] = rotation @ np.diag(spacing)
    affine[:dims, dims] = rng.normal(size=dims) * 50
    return Volume(torch.zeros(1, *shape, dtype=torch.int16), affine, "case")


def _world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the world positions (n, *shape) of every voxel."""
    indices = np.indices(shape).reshape(len(shape), -1)
    positions = affine[:-1, :-1] @ indices + affine[:-1, -1:]
    return positions.reshape(len(shape), *shape)


@pytest.mark.parametrize(
    ("shape", "spacing", "wanted"),
    [
        ((10, 24, 20), (3.0, 1.0, 1.0), (1.5, 2.0, 0.5)),
        ((21, 13, 17), (3.3, 0.97, 0.98), (2.0, 2.0, 2.0)),
        ((1, 8, 8), (5.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ((9, 12), (2.0, 1.0), (1.0, 1.5)),
    ],
)
@pytest.mark.parametrize("resampling", ["linear", "filtered"])
def test_every_point_stays_where_it_is(
    shape: tuple[int, ...],
    spacing: tuple[float, ...],
    wanted: tuple[float, ...],
    resampling: str,
) -> None:
    """An image whose values are its positions still holds its positions after resampling.

    Means over new voxels move it by at most a twelfth of an old voxel.
    """
    volume = _volume(shape, spacing)
    ramp = torch.from_numpy(_world(volume.affine, shape)).float()
    moved = resample_to_spacing(Volume(ramp, volume.affine, "case"), wanted, resampling)
    expected = _world(moved.affine, moved.shape)
    tolerance = 1e-4 + (resampling == "filtered") * np.linalg.norm(spacing) / 12
    # Linear interpolation ends at the outermost voxel centres, half a voxel inside.
    inner = tuple(slice(n // 3, n - n // 3) for n in moved.shape)
    if min(shape) > 1:
        difference = np.abs(moved.data.numpy() - expected)[(slice(None), *inner)]
        assert difference.max() < tolerance
    assert np.allclose(moved.spacing, wanted, rtol=0.5 / min(moved.shape))


def test_the_corners_of_the_field_of_view_coincide() -> None:
    volume = _volume((10, 24, 20), (3.0, 1.0, 1.0))
    moved = resample_to_spacing(volume, (1.7, 1.3, 0.6))
    for corner in np.ndindex(2, 2, 2):
        ends = [v.affine @ [*(np.array(corner) * v.shape - 0.5), 1] for v in (volume, moved)]
        assert np.allclose(*ends, atol=1e-9)
    assert moved.data.dtype == torch.float32


def test_a_volume_at_that_spacing_is_returned_unchanged() -> None:
    volume = _volume((10, 24, 20), (3.0, 1.0, 1.0))
    assert resample_to_spacing(volume, (3.0001, 1.0, 1.0)) is volume
    once = resample_to_spacing(volume, (1.7, 1.3, 0.6))
    assert resample_to_spacing(once, (1.7, 1.3, 0.6)) is once


@pytest.mark.parametrize(
    ("length", "spacing", "expected"),
    [
        (40, 1.05, 42),  # five hundredths off
        (1000, 1.001, 1001),  # a thousandth
        (6000, 1.0002, 6001),  # twice what counts as equal
        (6000, 1.00009, 6000),  # less than that
        (10, 1.04, 10),  # its own grid is the nearest there is
    ],
)
def test_a_spacing_that_is_a_little_off_is_resampled(
    length: int, spacing: float, expected: int
) -> None:
    volume = _volume((2, 2, length), (1.0, 1.0, spacing))
    assert resample_to_spacing(volume, (1.0, 1.0, 1.0)).shape == (2, 2, expected)


def test_a_landmark_survives_the_way_there_and_back() -> None:
    volume = _volume((20, 24, 28), (2.0, 1.0, 1.5))
    d, h, w = np.indices((20, 24, 28)) - np.array([8, 14, 11]).reshape(3, 1, 1, 1)
    blob = torch.from_numpy(np.exp(-(d**2 + h**2 + w**2) / 12.0)).float()[None]
    there = resample_to_spacing(Volume(blob, volume.affine, "case"), (1.0, 1.0, 1.0))
    peak = np.unravel_index(int(there.data.argmax()), there.shape)
    landmark = volume.affine @ [8, 14, 11, 1]
    assert np.linalg.norm(there.affine @ [*peak, 1] - landmark) < 1
    back = resample_to_shape(there.data, (20, 24, 28))
    assert np.unravel_index(int(back.argmax()), (20, 24, 28)) == (8, 14, 11)
    assert (back - blob).abs().max() < 0.1


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.0, 1.0, 1.0), (float("nan"), 1.0, 1.0)])
def test_an_impossible_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(VolumeError, match="3 spacings above 0 mm"):
        resample_to_spacing(_volume((4, 4, 4), (1.0, 1.0, 1.0)), spacing)


def test_a_grid_that_no_memory_holds_is_refused() -> None:
    """A header in the wrong unit asks for a thousand times more voxels along each axis."""
    with pytest.raises(VolumeError, match=r"case: .*10000 x 20000 x 10000.*at most 8 GiB"):
        resample_to_spacing(_volume((10, 10, 10), (1e3, 1e3, 1e3)), (1.0, 0.5, 1.0))
    fits = resample_to_spacing(_volume((10, 10, 10), (1e3, 1e3, 1e3)), (100.0, 100.0, 50.0))
    assert fits.shape == (100, 100, 200)


def _cube(voxels: torch.Tensor, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(voxels[None], np.diag([*spacing, 1.0]), "case")


def test_stripes_and_noise_are_averaged_by_coarser_voxels() -> None:
    """Stripes as wide as the new voxels keep their mean; noise decreases with their volume."""
    generator = torch.Generator().manual_seed(0)
    stripes = torch.tensor([-1000.0, 500.0, 500.0]).repeat(24)
    noise = 50 * torch.randn(72, 72, 72, generator=generator)
    volume = _cube(stripes[:, None, None] + noise)
    result = resample_to_spacing(volume, (3, 3, 3)).data
    assert abs(result.mean().item() - volume.data.mean().item()) < 0.01
    assert abs(result.mean().item()) < 1
    assert result.std().item() == pytest.approx(50 / 27**0.5, rel=0.03)
    # Points are sampled without the filter: one stripe of three, with all of its noise.
    points = resample_to_spacing(volume, (3, 3, 3), "linear").data
    assert points.std().item() == pytest.approx(50, rel=0.03)
    assert points.mean().item() > 490


@pytest.mark.parametrize("spacing", [(1.01, 1.4, 2.0), (3.0, 0.7, 1.0), (2.7, 2.7, 30.0)])
def test_means_and_constants_are_kept(spacing: tuple[float, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    for value in (-1000.0, 0.1, 3071.0, 1e-3):
        same = resample_to_spacing(_cube(torch.full((31, 17, 23), value)), spacing).data
        assert torch.equal(same, torch.full_like(same, value))
    # Nothing is left of a pattern of two voxels but its mean.
    pattern = (torch.arange(60) % 2 * 2000.0 - 1000).expand(12, 60, 60)
    noise = 1000 * torch.randn(12, 60, 60, generator=generator)
    for voxels in (pattern, noise, (pattern + noise).short()):
        coarser = averaged(voxels[None], (7, 43, 2))
        assert coarser.double().mean().item() == pytest.approx(
            voxels.double().mean().item(), abs=1e-3
        )


@pytest.mark.parametrize("new", [(5, 9, 4), (9, 9, 7), (1, 1, 1), (8, 10, 3)])
@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_an_average_is_that_of_a_finely_divided_image(
    new: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Dividing each voxel into as many parts as the new axis has makes all means plain ones."""
    old = (9, 10, 7)
    voxels = torch.from_numpy(np.random.default_rng(2).integers(-999, 999, (2, *old))).to(dtype)
    expected = voxels.numpy().astype(np.float64)
    for axis, (a, b) in enumerate(zip(old, new, strict=True), start=1):
        fine = np.moveaxis(np.repeat(expected, b, axis), axis, -1)
        expected = np.moveaxis(fine.reshape(*fine.shape[:-1], b, a).mean(-1), -1, axis)
    result = averaged(voxels, new)
    assert result.shape == (2, *new)
    assert np.allclose(result.numpy(), expected, atol=1e-3, rtol=1e-5)
    assert voxels.min() <= result.min()
    assert result.max() <= voxels.max()


def test_whole_factors_agree_with_scipy() -> None:
    voxels = np.random.default_rng(3).normal(size=(12, 20, 15)).astype(np.float32)
    result = resample_to_spacing(_cube(torch.from_numpy(voxels)), (3.0, 5.0, 3.0)).data[0]
    smooth = ndimage.uniform_filter(voxels.astype(np.float64), (3, 5, 3))
    assert np.allclose(result.numpy(), smooth[1::3, 2::5, 1::3], atol=1e-5)


def test_finer_axes_are_interpolated_as_before() -> None:
    volume = _cube(torch.from_numpy(np.random.default_rng(4).normal(size=(9, 8, 7))))
    finer = (0.5, 1.0, 0.8)
    old, new = (resample_to_spacing(volume, finer, name).data for name in ("linear", "filtered"))
    assert torch.equal(old, new)
    mixed = resample_to_spacing(volume, (0.5, 2.0, 0.8)).data
    expected = resample_to_shape(averaged(volume.data.float(), (9, 4, 7)), (18, 4, 9))
    assert torch.allclose(mixed, expected, atol=1e-6)


def test_little_coarser_voxels_are_nearly_the_old_ones() -> None:
    """The filter begins without a jump: at the old spacing it is the image itself."""
    smooth = torch.sin(torch.arange(200) / 9.0)[:, None, None].expand(200, 4, 4)
    volume = _cube(smooth)
    old, new = (
        resample_to_spacing(volume, (1.01, 1, 1), name).data for name in ("linear", "filtered")
    )
    assert (old - new).abs().max() < 0.01
