"""The staircase: blocks score above 1, blurred borders below, everything else 1."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import tiny_model
from vae3d.model.config import LevelSpec
from vae3d.scoring import staircase as measuring
from vae3d.scoring.staircase import staircase, steps_of


def scan(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, *shape, generator=generator) * 2 - 1


def slow_ratio(image: Tensor, axis: int, period: int) -> float:
    """The jumps at multiples of a period over the others, plane by plane."""
    across, others = [], []
    for plane in range(1, image.shape[axis + 1]):
        here, before = (image.select(axis + 1, at).double() for at in (plane, plane - 1))
        jump = float((here - before).abs().mean())
        (others if plane % period else across).append(jump)
    return (sum(across) / len(across)) / (sum(others) / len(others))


@pytest.mark.parametrize("shape", [(40, 33), (16, 20, 18), (9, 40, 7)], ids=str)
@pytest.mark.parametrize("chunk", [50, 2**20])
def test_ratios_are_those_of_a_slow_reference(
    shape: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "VOXELS_PER_CHUNK", chunk)
    image = scan(*shape)
    other = image + 0.3 * scan(*shape).flip(1)
    periods = ((2, 4), (), (3,))[-len(shape) :]
    found = steps_of(image, other, periods)
    assert [[*axis] for axis in found] == [[*axis] for axis in periods]
    for axis, ratios in enumerate(found):
        for period, ratio in ratios.items():
            expected = slow_ratio(other, axis, period) / slow_ratio(image, axis, period)
            assert ratio == pytest.approx(expected, rel=1e-4)


def test_blocks_are_seen_at_their_period_and_axis() -> None:
    image = F.avg_pool3d(scan(34, 34, 34)[None], 3, 1)[0]
    blocks = F.interpolate(F.avg_pool3d(image[None], (1, 2, 1)), scale_factor=(1.0, 2.0, 1.0))[0]
    found = steps_of(image, blocks, ((2, 4), (2, 4), (2, 4)))
    assert found[0][2] == pytest.approx(1, abs=0.05)
    assert found[2][4] == pytest.approx(1, abs=0.05)
    assert found[1][2] > 1000, "nothing jumps inside of a block"
    assert staircase(found) > 5


def test_a_staircase_counts_as_on_the_issue_of_blocks() -> None:
    """Jumps 2.2 times the others at every second plane are a staircase of 2.2."""
    steps = torch.where(torch.arange(63) % 2 == 1, 2.2, 1.0)
    signs = torch.where(torch.arange(63) // 2 % 2 == 1, 1.0, -1.0)
    line = torch.cat([torch.zeros(1), (steps * signs * 0.01).cumsum(0)])
    even = torch.cat([torch.zeros(1), (signs * 0.01).cumsum(0)])
    image, other = (x[None, None].expand(1, 8, 64) for x in (even, line))
    found = steps_of(image, other, ((), (2,)))
    assert found[1][2] == pytest.approx(2.2, rel=1e-3)
    assert staircase(found) == found[1][2]


def test_blurred_borders_score_below_one_and_even_blur_about_one() -> None:
    image = scan(128, 128)
    smooth = F.avg_pool2d(image[None], 3, 1, 1)[0]
    planes = torch.arange(128) % 4
    borders = torch.where((planes == 0) | (planes == 3), smooth, image)
    assert staircase(steps_of(image, borders, ((), (4,)))) < 0.8
    assert staircase(steps_of(image, smooth, ((4,), (4,)))) == pytest.approx(1, abs=0.05)


def test_what_the_scan_has_itself_is_no_staircase() -> None:
    """A scan of repeated slices jumps at every second plane, and so may its copy."""
    image = scan(16, 24, 24).repeat_interleave(2, dim=1) + 0.05 * scan(32, 24, 24)
    found = steps_of(image, 0.7 * image + 0.1, ((2, 4), (2,), ()))
    assert slow_ratio(image, 0, 2) > 5
    assert staircase(found) == pytest.approx(1, abs=1e-3)


def test_the_worst_period_counts_whichever_side_it_is_on() -> None:
    assert staircase(({2: 1.1, 4: 1.0}, {2: 1.1, 4: 0.5})) == pytest.approx(math.sqrt(0.5))
    assert staircase(({2: 1.5, 4: 0.9}, {})) == 1.5
    assert math.isnan(staircase(({}, {})))


def test_short_axes_and_even_images() -> None:
    image = scan(1, 3, 40)
    found = steps_of(image, image, ((2,), (4,), (8,)))
    assert found == ({}, {}, {8: 1.0})
    even = torch.zeros(1, 8, 8)
    assert staircase(steps_of(even, even, ((2,), (4,)))) == 1


def test_periods_of_networks() -> None:
    levels = [LevelSpec(4), LevelSpec(8, stride=(1, 2, 2)), LevelSpec(8, stride=(2,))]
    config = tiny_model(3, levels=levels, patch=(1, 2, 2))
    assert config.periods == ((2,), (2, 4, 8), (2, 4, 8))
    assert tiny_model(2).periods == ((2,), (2,))
    assert tiny_model(3, levels=levels[:1]).periods == ((), (), ())
