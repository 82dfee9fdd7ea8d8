"""Laws of resampling."""

import numpy as np
import pytest
import torch

from vae3d.errors import VolumeError
from vae3d.scans.resample import resample_to_shape, resample_to_spacing
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
def test_every_point_stays_where_it_is(
    shape: tuple[int, ...], spacing: tuple[float, ...], wanted: tuple[float, ...]
) -> None:
    """An image whose values are its positions still holds its positions after resampling."""
    volume = _volume(shape, spacing)
    ramp = torch.from_numpy(_world(volume.affine, shape)).float()
    moved = resample_to_spacing(Volume(ramp, volume.affine, "case"), wanted)
    expected = _world(moved.affine, moved.shape)
    # Linear interpolation ends at the outermost voxel centres, half a voxel inside.
    inner = tuple(slice(n // 3, n - n // 3) for n in moved.shape)
    if min(shape) > 1:
        difference = np.abs(moved.data.numpy() - expected)[(slice(None), *inner)]
        assert difference.max() < 1e-4
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
