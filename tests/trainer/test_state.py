"""The best steps, how long none was better, and when a training is finished."""

import pytest

from vae3d.trainer.state import TrainState


def test_the_best_stand_first_and_of_equals_the_earlier() -> None:
    state = TrainState()
    improved = []
    for step, score in enumerate([3.0, 1.0, 3.0, 5.0, 4.0], start=1):
        state.step = step
        improved.append(state.take(score, keep=3))
    assert improved == [True, False, False, True, False]
    assert state.best == [(5.0, 4), (4.0, 5), (3.0, 1)]
    assert state.best_steps == [4, 5, 1]
    assert state.stale == 1


@pytest.mark.parametrize(
    ("step", "stale", "patience", "due", "exhausted", "finished"),
    [
        (9, 5, None, False, False, False),
        (10, 0, None, False, False, True),
        (11, 0, None, False, False, True),
        (10, 0, None, True, False, False),
        (4, 1, 2, False, False, False),
        (4, 2, 2, False, True, True),
        (4, 3, 2, False, True, True),
        (4, 2, 2, True, True, False),
    ],
)
def test_when_nothing_is_left_to_do(
    step: int, stale: int, patience: int | None, due: bool, exhausted: bool, finished: bool
) -> None:
    state = TrainState(step=step, stale=stale, validation_due=due)
    assert state.is_exhausted(patience) == exhausted
    assert state.is_finished(10, patience) == finished


def test_a_training_begins_at_step_0() -> None:
    assert TrainState() == TrainState(0, [], False, 0, 0)


def test_it_comes_back_as_it_was() -> None:
    state = TrainState(7, [(2.5, 4), (1.0, 2)], True, 3, 2)
    again = TrainState()
    again.load_state_dict({**state.state_dict(), "best": [[2.5, 4], [1.0, 2]]})
    assert again == state
    missing = state.state_dict()
    del missing["stale"]
    with pytest.raises(KeyError):
        again.load_state_dict(missing)
