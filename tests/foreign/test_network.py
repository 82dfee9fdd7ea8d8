"""What holds for the networks of all other programs, without their libraries."""

import itertools

import pytest
import torch
from torch import nn

from vae3d.errors import ConfigError
from vae3d.foreign.network import MAX_SURPLUS, built_for, errors_named


def test_a_network_without_an_end_is_not_built() -> None:
    """It is refused when it has more parameters than the file could hold, not at its end."""
    built = []

    def endless() -> None:
        for number in itertools.count():
            built.append(nn.Linear(2, 2, bias=False))
            assert number < 100

    message = "more than 40 tensors, the file has 4"
    with (
        pytest.raises(ConfigError, match=message),
        errors_named("their options"),
        torch.device("meta"),
        built_for(4),
    ):
        endless()
    assert len(built) == 4 * MAX_SURPLUS


def test_other_networks_are_built_as_ever() -> None:
    with built_for(1):
        nn.Sequential(*(nn.Linear(1, 1) for _ in range(MAX_SURPLUS // 2)))
    # The count ends with the context.
    assert len([*nn.Sequential(*(nn.Linear(1, 1) for _ in range(20))).parameters()]) == 40
