"""The average of the weights against its formula."""

import contextlib

import pytest
import torch
from torch import nn

from vae3d.trainer.ema import ExponentialMovingAverage


def model_of(value: float) -> nn.Module:
    """One weight, and a buffer that counts."""
    model = nn.Linear(1, 1, bias=False)
    model.register_buffer("count", torch.tensor(0))
    nn.init.constant_(model.weight, value)
    return model


def values(average: ExponentialMovingAverage, seen: list[float]) -> list[float]:
    """The average after each of these weights."""
    found = []
    for number, value in enumerate(seen, start=1):
        nn.init.constant_(average.model.weight, value)  # type: ignore[arg-type]
        average.model.count.fill_(number)  # type: ignore[operator]
        average.update()
        found.append(average.state()["weight"].item())
    return found


def test_young_it_averages_faster_and_old_with_its_decay() -> None:
    """The decays are 2/11, 3/12 and 4/13, then the 0.32 that is less than 5/14."""
    seen, decays = [5.0, -1.0, 2.0, 8.0, 0.0], [2 / 11, 3 / 12, 4 / 13, 0.32, 0.32]
    average, expected = 1.0, []
    for value, decay in zip(seen, decays, strict=True):
        average = decay * average + (1 - decay) * value
        expected.append(average)
    ema = ExponentialMovingAverage(model_of(1.0), 0.32)
    assert values(ema, seen) == pytest.approx(expected, rel=1e-6)
    assert ema.updates == 5
    assert ema.state()["count"].item() == 5, "what is no weight is copied"


def test_without_a_decay_it_is_the_weights() -> None:
    ema = ExponentialMovingAverage(model_of(1.0), None)
    assert values(ema, [3.0, 7.0]) == [3.0, 7.0]
    assert (ema.updates, ema.average) == (0, {})
    with ema.averaged():
        assert ema.model.weight.item() == 7.0  # type: ignore[operator]


def test_inside_the_context_the_model_holds_the_average() -> None:
    ema = ExponentialMovingAverage(model_of(1.0), 0.9)
    (average,) = values(ema, [12.0])
    assert average == pytest.approx(10.0)
    with contextlib.suppress(KeyboardInterrupt), ema.averaged():
        assert ema.model.weight.item() == pytest.approx(10.0)  # type: ignore[operator]
        raise KeyboardInterrupt
    assert ema.model.weight.item() == 12.0  # type: ignore[operator]


def test_it_goes_on_from_its_state() -> None:
    seen = [5.0, -1.0, 2.0, 8.0, 0.0]
    whole, first = (ExponentialMovingAverage(model_of(1.0), 0.9) for _ in range(2))
    expected = values(whole, seen)[3:]
    values(first, seen[:3])
    second = ExponentialMovingAverage(model_of(0.0), 0.9)
    second.load_state_dict({"updates": first.updates, "average": first.average})
    assert values(second, seen[3:]) == expected
    with pytest.raises(KeyError):
        second.load_state_dict({"updates": 1, "average": {}})
