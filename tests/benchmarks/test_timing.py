"""The timer alternates, and its ratios are those of the same round."""

import pytest

from benchmarks.timing import Samples, Spread, alternate


def test_rounds_are_in_alternating_order_after_a_warm_up() -> None:
    calls: list[str] = []

    def measure(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    contenders = {name: lambda name=name: measure(name) for name in "abc"}  # type: ignore[misc]
    samples = alternate(contenders, rounds=3)
    assert "".join(calls) == "abc" + "abc" + "cba" + "abc"
    assert samples.rounds == 3
    assert samples.values == {"a": [4, 9, 10], "b": [5, 8, 11], "c": [6, 7, 12]}


def test_after_the_time_limit_no_round_begins_but_two_are_done() -> None:
    assert alternate({"a": lambda: 1.0}, rounds=9, seconds=0.0).rounds == 2
    assert alternate({"a": lambda: 1.0}, rounds=1, seconds=0.0).rounds == 1
    assert alternate({"a": lambda: 1.0}, rounds=9).rounds == 9


def test_ratios_are_of_the_same_round() -> None:
    # The machine became twice as slow: the ratio did not change.
    samples = Samples({"a": [1.0, 2.0, 2.0], "b": [3.0, 6.0, 8.0]})
    assert samples.ratio("b", "a") == Spread(3.0, 3.0, 4.0)
    assert samples.ratio("b", "a").shown(1) == "3.0 (3.0 to 4.0)"
    assert samples.spread("a") == Spread(2.0, 1.0, 2.0)


@pytest.mark.parametrize("values", [[2.0], [1.0, 3.0], [5.0, 1.0, 2.0]])
def test_a_spread_has_the_median_between_its_ends(values: list[float]) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.low, spread.high) == (2.0, min(values), max(values))
