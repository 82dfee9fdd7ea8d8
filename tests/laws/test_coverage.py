"""Law 1: stitching the patches of the identity returns the volume, for any patches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae3d.patching.blending import PatchAggregator
from vae3d.patching.config import BLENDS
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
    regions = patches.regions(shape)
    aggregator = PatchAggregator(regions, 2, shape, blend)
    assert len(regions) == patches.num_patches(shape)
    for region in regions:
        aggregator.add(region.padded(region.cut(volume), fill=99.0), region)
    assert torch.equal(aggregator.volume(), volume)


@pytest.mark.parametrize("blend", BLENDS)
@given(grid=grids())
@settings(max_examples=100, deadline=None)
def test_stitching_is_the_weighted_mean(
    blend: str, grid: tuple[tuple[int, ...], GridPatches]
) -> None:
    shape, patches = grid
    regions = patches.regions(shape)
    aggregator = PatchAggregator(regions, 1, shape, blend)
    noise = torch.Generator().manual_seed(0)
    sums, weights = (torch.zeros(2, *shape, dtype=torch.float64) for _ in range(2))
    for region in regions:
        patch = torch.rand(1, *region.size, generator=noise)
        aggregator.add(patch, region)
        window = torch.ones((), dtype=torch.float64)
        for length in region.size:
            window = window[..., None] * BLENDS[blend](length).double()
        inside = tuple(slice(0, n) for n in region.inside(shape))
        sums[region.slices] += (patch[0].double() * window)[inside]
        weights[region.slices] += window[inside]
    expected = (sums / weights)[:1].float()
    torch.testing.assert_close(aggregator.volume(), expected, atol=2e-6, rtol=0)


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
    regions = GridPatches((2, 2), 0.0).regions((4, 4))
    patch = torch.zeros(1, 2, 2)
    with pytest.raises(RuntimeError, match="cover"):
        PatchAggregator(regions, 1, (4, 4)).volume()
    with pytest.raises(RuntimeError, match="cover"):
        PatchAggregator(regions[:1], 1, (4, 4))
    with pytest.raises(RuntimeError, match="order"):
        PatchAggregator(regions, 1, (4, 4)).add(patch, regions[1])
