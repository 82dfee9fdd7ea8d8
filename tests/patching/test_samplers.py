"""The positions of patches against explicit lists."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from vae3d.errors import ConfigError
from vae3d.patching.config import WholeVolumeConfig
from vae3d.patching.samplers import (
    GridPatches,
    RandomPatches,
    WholeVolume,
    axis_starts,
    build_sampler,
    patch_size,
)
from vae3d.runtime.seeding import numpy_generator


@pytest.mark.parametrize(
    ("length", "size", "overlap", "multiple", "expected"),
    [
        (100, 40, 0.25, 1, [0, 30, 60]),
        (100, 40, 0.0, 1, [0, 40, 60]),
        (100, 40, 0.5, 8, [0, 16, 32, 48, 60]),
        (101, 40, 0.25, 1, [0, 30, 60, 61]),
        (40, 40, 0.5, 1, [0]),
        (41, 40, 0.5, 1, [0, 1]),
        (39, 40, 0.5, 1, [0]),
        (12, 8, 0.9, 4, [0, 4]),
        (5, 2, 0.99, 1, [0, 1, 2, 3]),
    ],
)
def test_starts_of_an_axis(
    length: int, size: int, overlap: float, multiple: int, expected: list[int]
) -> None:
    assert axis_starts(length, size, overlap, multiple) == expected


def test_a_grid_goes_through_its_last_axis_first() -> None:
    grid = GridPatches((2, 4), overlap=0.5)
    corners = [(0, 0), (0, 2), (0, 3), (1, 0), (1, 2), (1, 3), (2, 0), (2, 2), (2, 3)]
    assert [region.corner for region in grid.regions((4, 7))] == corners
    assert grid.num_patches((4, 7)) == len(corners)
    never = numpy_generator(0, "")
    for index, corner in enumerate(corners):
        region = grid.region((4, 7), index, never, lambda generator: None)
        assert (region.corner, region.size) == (corner, (2, 4))


def test_a_whole_volume_is_one_patch() -> None:
    sampler = WholeVolume()
    region = sampler.region((3, 4, 5), 0, numpy_generator(0, ""), lambda generator: None)
    assert sampler.num_patches((3, 4, 5)) == 1
    assert (region.corner, region.size) == ((0, 0, 0), (3, 4, 5))
    assert isinstance(build_sampler(WholeVolumeConfig(), 3), WholeVolume)


def corners(
    sampler: RandomPatches, shape: tuple[int, ...], voxel: NDArray[np.int64] | None
) -> Iterator[tuple[int, ...]]:
    for number in range(400):
        generator = numpy_generator(0, "patch", number)
        region = sampler.region(shape, number, generator, lambda generator: voxel)
        assert region.size == sampler.size
        yield region.corner


def test_every_place_is_drawn_and_none_outside() -> None:
    """A patch of 4 has six positions on an axis of 9, and one on an axis of 4 or less."""
    sampler = RandomPatches((4, 4, 4), per_volume=3, foreground=0.0)
    drawn = {*corners(sampler, (9, 4, 3), None)}
    assert drawn == {(start, 0, 0) for start in range(6)}
    assert sampler.num_patches((9, 4, 3)) == 3


def test_a_foreground_voxel_is_anywhere_in_its_patch() -> None:
    sampler = RandomPatches((3, 3), foreground=1.0)
    middle = {*corners(sampler, (20, 20), np.array([7, 9]))}
    assert middle == {(d, h) for d in (5, 6, 7) for h in (7, 8, 9)}
    # Patches stay inside the volume: at its ends fewer positions hold the voxel.
    assert {*corners(sampler, (20, 20), np.array([0, 19]))} == {(0, 17)}
    # Where a patch is larger than the volume its voxel is one of the volume's.
    assert {*corners(RandomPatches((8, 8), foreground=1.0), (4, 9), np.array([3, 4]))} == {
        (0, 0),
        (0, 1),
    }
    assert len({*corners(sampler, (20, 20), None)}) > 100, "without foreground anywhere"


def test_the_share_of_foreground_is_what_was_asked_for() -> None:
    sampler = RandomPatches((1, 1), foreground=0.25)
    drawn = [*corners(sampler, (1000, 1000), np.array([7, 9]))]
    assert 0.18 < drawn.count((7, 9)) / len(drawn) < 0.32


def test_sizes_are_given_once_or_for_each_axis() -> None:
    assert patch_size([8], 3) == (8, 8, 8)
    assert patch_size([1], 2) == (1, 1)
    assert patch_size([4, 8, 1024], 3) == (4, 8, 1024)
    for wrong in ([8, 8], [0], [8, 8, 0], [8, 8, 1025]):
        with pytest.raises(ConfigError, match=r"patching\.size"):
            patch_size(wrong, 3)
    for sampler in (GridPatches((6,)), RandomPatches((6,))):
        assert vars(build_sampler(sampler, 2))["size"] == (6, 6)


def test_impossible_settings_are_refused() -> None:
    GridPatches(overlap=0.0), RandomPatches(per_volume=1, foreground=0.0)
    RandomPatches(foreground=1.0)
    for overlap in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=r"patching\.overlap"):
            GridPatches(overlap=overlap)
    for foreground in (-0.1, 1.1):
        with pytest.raises(ConfigError, match=r"patching\.foreground"):
            RandomPatches(foreground=foreground)
    with pytest.raises(ConfigError, match=r"patching\.per_volume"):
        RandomPatches(per_volume=0)


def test_defaults_are_pinned() -> None:
    assert GridPatches() == GridPatches((32,), 0.0)
    assert RandomPatches() == RandomPatches((32,), 8, 0.5, None)
