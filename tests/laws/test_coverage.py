"""Law 1: stitching the identity gives the volume back, whatever the patches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae3d.patching.blending import BLENDS, PatchAggregator
from vae3d.patching.samplers import GridPatches, axis_starts

SIDE = st.integers(1, 23)


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], GridPatches]:
    dims = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.lists(SIDE, min_size=dims, max_size=dims)))
    size = tuple(draw(st.lists(SIDE, min_size=dims, max_size=dims)))
    return shape, GridPatches(size, draw(st.floats(0, 0.95)))


@pytest.mark.parametrize("blend", BLENDS)
@given(grid=grids())
@settings(max_examples=200, deadline=None)
def test_identity_is_restored_on_every_voxel(
    blend: str, grid: tuple[tuple[int, ...], GridPatches]
) -> None:
    shape, patches = grid
    volume = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    aggregator = PatchAggregator(2, shape, blend)
    regions = patches.regions(shape)
    assert len(regions) == patches.num_patches(shape)
    for region in regions:
        aggregator.add(region.padded(region.cut(volume), fill=99.0), region)
    torch.testing.assert_close(aggregator.volume(), volume, atol=1e-6, rtol=0)


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.99), st.integers(1, 8))
def test_starts_cover_the_axis_and_stay_on_the_grid(
    length: int, size: int, overlap: float, multiple: int
) -> None:
    length, size = length * multiple, size * multiple
    starts = axis_starts(length, size, overlap, multiple)
    covered = {voxel for start in starts for voxel in range(start, start + size)}
    assert covered >= set(range(length))
    assert all(start % multiple == 0 for start in starts)
    assert starts == sorted(set(starts))
    assert length <= size or starts[-1] + size == length


def test_uncovered_voxels_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="cover"):
        PatchAggregator(1, (4, 4)).volume()
