"""The windows of blending, number by number."""

import math

import pytest
import torch

from vae3d.errors import ConfigError
from vae3d.patching.blending import PatchAggregator
from vae3d.patching.config import BLENDS
from vae3d.patching.samplers import GridPatches


def test_uniform_counts_every_voxel_once() -> None:
    assert BLENDS["uniform"](4).tolist() == [1, 1, 1, 1]


def test_hann_is_without_its_zeros() -> None:
    """sin^2 of 30, 60, 90, 120 and 150 degrees."""
    torch.testing.assert_close(BLENDS["hann"](5), torch.tensor([0.25, 0.75, 1, 0.75, 0.25]))


def test_gaussian_has_the_deviation_of_an_eighth() -> None:
    """Size 16 has a sigma of 2 voxels; no weight is below a thousandth."""
    offsets = [number - 7.5 for number in range(16)]
    expected = [max(math.exp(-(offset**2) / 8), 1e-3) for offset in offsets]
    torch.testing.assert_close(BLENDS["gaussian"](16), torch.tensor(expected))
    assert BLENDS["gaussian"](8)[0].item() == pytest.approx(0.0021875, rel=1e-4)
    assert BLENDS["gaussian"](64)[0].item() == pytest.approx(0.001, rel=1e-6)


def test_a_blend_that_there_is_not_is_named() -> None:
    regions = GridPatches((2, 2)).regions((4, 4))
    with pytest.raises(ConfigError, match=r"inference\.blend must be one of uniform, hann"):
        PatchAggregator(regions, 1, (4, 4), "cosine")
