"""Numbers of things in words."""

import pytest

from vae3d.logger.console import speed_text
from vae3d.runtime.messages import counted


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases"), (12000, "12,000 cases")]
)
def test_one_is_singular(count: int, text: str) -> None:
    assert counted(count, "case") == text


@pytest.mark.parametrize(
    ("speed", "text"), [(1234.0, "0.00123"), (2e6, "2"), (45.67e6, "45.7"), (2.5e9, "2500")]
)
def test_speeds_have_three_digits(speed: float, text: str) -> None:
    assert speed_text(speed) == f"{text} Mvoxel/s"
