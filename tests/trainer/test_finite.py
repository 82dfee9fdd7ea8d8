"""Steps without numbers are counted, in a row, until there are too many."""

import pytest
import torch

from vae3d.errors import NonFiniteError
from vae3d.trainer.finite import MAX_OVERFLOWS, FiniteWatch
from vae3d.trainer.state import TrainState

NAN = float("nan")


def watched(watch: FiniteWatch, state: TrainState, *losses: float) -> dict[int, list[str]]:
    """What is found after steps of these losses."""
    for number, loss in enumerate(losses):
        scores = {"loss": torch.tensor(loss), "grad_norm": torch.tensor(1.0)}
        assert bool(watch.note(number, scores)) == (loss == loss)
    return watch.bad_steps(state)


def test_steps_are_looked_at_once() -> None:
    watch, state = FiniteWatch(9, False), TrainState()
    assert watched(watch, state) == {}
    assert watched(watch, state, 1.0, NAN, 2.0, NAN) == {1: ["loss"], 3: ["loss"]}
    assert state.skipped == 1
    assert watch.bad_steps(state) == {}
    assert watched(watch, state, NAN, NAN) == {0: ["loss"], 1: ["loss"]}
    assert state.skipped == 3, "the count continues"
    assert watched(watch, state, 1.0) == {}
    assert state.skipped == 0


@pytest.mark.parametrize(
    ("losses", "limit", "ends"),
    [
        ([NAN], 0, True), ([1.0], 0, False), ([NAN, 1.0, NAN], 1, False), ([NAN, NAN], 1, True),
        # Good steps that came before anybody looked do not make up for it.
        ([NAN, NAN, 1.0], 1, True), ([NAN, NAN, 1.0], 2, False),
    ],
)  # fmt: skip
def test_so_many_in_a_row_may_be_skipped(losses: list[float], limit: int, ends: bool) -> None:
    watch, state = FiniteWatch(limit, False), TrainState()
    bad = watched(watch, state, *losses)
    if not ends:
        watch.check(bad, "here")
        return
    last = max(n for n, loss in enumerate(losses) if loss != loss)
    with pytest.raises(
        NonFiniteError, match=rf"step {last}: loss stopped being finite.*in here\."
    ):
        watch.check(bad, "here")


def test_an_overflow_that_is_planned_is_none() -> None:
    for planned, scores, wrong in (
        (True, {"loss": 1.0, "grad_norm": NAN}, {}),
        (True, {"loss": NAN, "grad_norm": NAN}, {5: ["loss", "grad_norm"]}),
        (True, {"loss": NAN, "grad_norm": 1.0}, {5: ["loss"]}),
        (False, {"loss": 1.0, "grad_norm": NAN}, {5: ["grad_norm"]}),
    ):
        watch, state = FiniteWatch(0, planned), TrainState()
        watch.note(5, {name: torch.tensor(value) for name, value in scores.items()})
        assert watch.bad_steps(state) == wrong
        assert state.skipped == len(wrong)


def test_overflows_without_end_are_not_planned() -> None:
    watch, state = FiniteWatch(0, True), TrainState()

    def steps(count: int, norm: float) -> dict[int, list[str]]:
        for number in range(count):
            watch.note(number, {"loss": torch.tensor(1.0), "grad_norm": torch.tensor(norm)})
        return watch.bad_steps(state)

    # The scale falls, and one finite step in between begins the count again.
    for count, norm in ((MAX_OVERFLOWS, NAN), (1, 1.0), (MAX_OVERFLOWS - 1, NAN), (1, NAN)):
        bad = steps(count, norm)
        assert bad == {}
        watch.check(bad, "here")
    bad = steps(1, NAN)
    assert bad == {0: ["grad_norm"]}
    with pytest.raises(NonFiniteError, match=r"step 0: grad_norm stopped.*precision=fp32"):
        watch.check(bad, "here")
