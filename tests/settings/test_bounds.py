"""Bounds are checked however a setting is set, and errors have the right key."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from vae3d.bounds import (
    Above,
    AtLeast,
    Between,
    Bound,
    Gibibytes,
    LowHigh,
    OneOf,
    OneOfNumbers,
    PerAxis,
    Settings,
    SomeOf,
    Weights,
)
from vae3d.errors import ConfigError
from vae3d.inference.config import InferenceConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.trainer.config import TrainerConfig


@pytest.mark.parametrize(
    ("bound", "good", "bad"),
    [
        (AtLeast(1), [1, 1.0, 10**400, 2**63], [0, 0.999, -1, math.nan, math.inf, "1", True]),
        (Above(0), [1e-300, 5], [0, -1, math.nan, math.inf]),
        (Between(0, 1), [0, 1, 0.5], [-1e-9, 1.0001, math.nan]),
        (Between(0, 1, "[)"), [0, 0.999], [1, -0.1]),
        (Between(0, 1, "(]"), [1, 1e-9], [0, 1.1]),
        (Between(0, 1, "()"), [0.5], [0, 1]),
        (OneOf("a", "b"), ["a", "b"], ["c", "", None, 1]),
        (SomeOf("a", "b"), [[], ["a"], ["b", "a"]], ["a", ["c"], None]),
        (SomeOf("a", "b", least=1), [["a"]], [[], ["c"]]),
        (OneOfNumbers((1, 3)), [1, 3], [2, True, "1", None]),
        (Gibibytes(), ["auto", None, 1, 0.5], [0, -1, "2", math.inf, math.nan, True, [1]]),
        (Weights(("l1",), "loss"), [{}, {"l1": 0}, {"l1": 2.5}],
         [{"l2": 1}, {"l1": -1}, {"l1": math.nan}, {"l1": "1"}]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Bound) else "",
)  # fmt: skip
def test_a_bound_takes_what_it_should(bound: Bound, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert bound.checked(value, "a.key") == value
    for value in bad:
        with pytest.raises(ConfigError, match=r"^a\.key"):
            bound.checked(value, "a.key")


def test_one_number_is_used_for_every_axis() -> None:
    sides = PerAxis(Between(1, 64))
    assert sides.checked(32, "k") == (32,)
    assert sides.checked([16, 32, 64], "k") == (16, 32, 64)
    spacing = PerAxis(Between(0.01, 100), (3,), whole=False, expand=True)
    assert spacing.checked(2, "k") == (2.0, 2.0, 2.0)
    assert spacing.checked((1, 2, 3), "k") == (1.0, 2.0, 3.0)
    assert all(isinstance(side, float) for side in spacing.checked(2, "k"))
    for wrong in (0, 65, [], [1] * 4, 1.5, "32", [1, True], [[1]], None, math.nan):
        with pytest.raises(ConfigError, match=r"^k "):
            sides.checked(wrong, "k")
    for wrong in ([1, 2], 0, -1, math.inf, "a", None):
        with pytest.raises(ConfigError, match=r"^k "):
            spacing.checked(wrong, "k")
    assert PerAxis(AtLeast(1), nullable=True).checked(None, "k") is None


def test_a_pair_ascends_within_its_limits() -> None:
    assert LowHigh().checked([-1000, 400], "k") == (-1000.0, 400.0)
    assert LowHigh((0, 100)).checked((0, 99.5), "k") == (0.0, 99.5)
    for wrong in ([1, 1], [2, 1], [0, 1, 2], 1, None, [math.nan, 1], [-math.inf, 0], ["0", 1]):
        with pytest.raises(ConfigError, match=r"^k "):
            LowHigh().checked(wrong, "k")
    with pytest.raises(ConfigError, match=r"k must be in \[0, 100\]"):
        LowHigh((0, 100)).checked([0, 101], "k")


@dataclass
class Inner:
    """In a list, where it does not know its own place."""

    count: Annotated[int, AtLeast(1)] = 1


@dataclass
class Outer(Settings, key="outer"):
    """Settings with everything that is converted."""

    maybe: Annotated[int | None, AtLeast(1)] = None
    sides: Annotated[Any, PerAxis(AtLeast(1))] = (1,)
    inner: list[Inner] = field(default_factory=lambda: [Inner()])


def test_settings_check_and_convert_their_fields() -> None:
    assert Outer(sides=4).sides == (4,)
    assert Outer(maybe=None).maybe is None
    with pytest.raises(ConfigError, match=r"outer\.maybe must be at least 1, got 0"):
        Outer(maybe=0)
    with pytest.raises(ConfigError, match=r"outer\.maybe must be a whole number, got 1\.5"):
        Outer(maybe=1.5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"outer\.inner\.1\.count must be at least 1, got 0"):
        Outer(inner=[Inner(), Inner(0)])


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: TrainerConfig(steps=0), "trainer.steps"),
        (lambda: TrainerConfig(lr=-1.0), "trainer.lr"),
        (lambda: TrainerConfig(precision="half"), "trainer.precision"),
        (lambda: TrainerConfig(device="tpu"), "trainer.device"),
        (lambda: InferenceConfig(overlap=1.0), "evaluation.inference.overlap"),
        (lambda: VAEConfig(levels=[LevelSpec(8), LevelSpec(0)]), "model.levels.1.channels"),
        (lambda: VAEConfig(norm="grup"), "model.norm"),
        (lambda: VAEConfig(levels=3), "model.levels"),
        (lambda: VAEConfig(levels=[{"channels": 8}]), "model.levels.0"),
        (lambda: VAEConfig(attention={"window": 4}), "model.attention"),
        (lambda: LossConfig(terms=["l1"]), "loss.terms"),
    ],
)
def test_python_gets_the_same_bounds(make: Any, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key} must"):
        make()
