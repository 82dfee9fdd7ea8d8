"""The learning rate, value by value, and steps that are skipped."""

import pytest
import torch
from torch import nn

from vae3d.trainer.optimizer import build_optimizer, learning_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.2),  # the first of ten equal parts of the peak
        (4, 1.0),
        (9, 2.0),  # the last step of the warm-up has the peak
        (10, 2.0),  # where the cosine begins
        (35, 1.736396103),  # a quarter of it: 0.2 + 1.8 * (1 + cos 45 degrees) / 2
        (60, 1.1),  # half of it: half way between peak and end
        (85, 0.463603897),
        (110, 0.2),  # the end: a tenth of the peak
        (500, 0.2),  # and past it
    ],
)
def test_a_warm_up_then_a_cosine(step: int, expected: float) -> None:
    assert learning_rate(step, 110, 2.0, 10, 0.1) == pytest.approx(expected, rel=1e-9)


def test_without_a_warm_up_the_peak_comes_first() -> None:
    assert learning_rate(0, 8, 3.0, 0, 0.0) == 3.0
    assert learning_rate(4, 8, 3.0, 0, 0.0) == pytest.approx(1.5)
    assert learning_rate(8, 8, 3.0, 0, 0.0) == pytest.approx(0.0, abs=1e-12)


def test_a_training_as_long_as_its_warm_up_or_shorter() -> None:
    assert [learning_rate(step, 2, 1.0, 4, 0.5) for step in range(2)] == [0.25, 0.5]
    assert learning_rate(4, 4, 1.0, 4, 0.5) == 1.0
    assert learning_rate(5, 4, 1.0, 4, 0.5) == 0.5


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_a_first_step_that_is_skipped_leaves_nothing_behind(name: str) -> None:
    """The state of the next step begins at zero, and is no memory that was used before."""
    weights = []
    for skipped in (False, True):
        model = nn.Linear(64, 64, bias=False)
        nn.init.ones_(model.weight)
        optimizer = build_optimizer(name, model, 0.1, 0.0)
        if skipped:
            model.weight.grad = torch.full_like(model.weight, torch.nan)
            optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
            for _ in range(8):
                torch.full((64, 64), 7e9)
            optimizer.step()
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.found_inf = torch.zeros(())  # type: ignore[attr-defined]
        optimizer.step()
        weights.append(model.weight.detach())
    assert torch.equal(*weights)
    assert weights[0].unique().numel() == 1
