"""A box against numpy's slices."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae3d.patching.region import Region

AXES = st.integers(2, 3)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], Region]:
    """A volume and a box that begins inside of it."""
    axes = draw(AXES)
    shape = tuple(draw(st.integers(1, 6)) for _ in range(axes))
    corner = tuple(draw(st.integers(0, n - 1)) for n in shape)
    return shape, Region(corner, tuple(draw(st.integers(1, 8)) for _ in shape))


@given(boxes())
def test_a_box_is_cut_and_filled_up(box: tuple[tuple[int, ...], Region]) -> None:
    shape, region = box
    volume = torch.arange(2.0 * np.prod(shape)).reshape(2, *shape)
    slices = [slice(c, c + s) for c, s in zip(region.corner, region.size, strict=True)]
    expected = volume.numpy()[(slice(None), *slices)]
    part = region.cut(volume)
    assert np.array_equal(part.numpy(), expected)
    assert region.inside(shape) == expected.shape[1:]
    missing = [(0, s - n) for s, n in zip(region.size, expected.shape[1:], strict=True)]
    filled = np.pad(expected, [(0, 0), *missing], constant_values=-7.0)
    assert np.array_equal(region.padded(part, -7.0).numpy(), filled)


def test_a_box_on_a_coarser_grid() -> None:
    assert Region((4, 6), (8, 3)).divided((4, 3)) == Region((1, 2), (2, 1))
