"""Concurrent calls return what sequential calls return, and torch's thread count is restored."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from vae3d.runtime.threads import lanes, map_concurrently


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("most", "count"), [(1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (100, 4)])
def test_lanes_part_the_threads_evenly(four_threads: None, most: int, count: int) -> None:
    assert lanes(most) == count


@pytest.mark.parametrize("count", [1, 2, 4])
def test_results_come_in_order(four_threads: None, count: int) -> None:
    # Each call waits for the next one if that runs too, so that they end in reverse order.
    ended = [threading.Event() for _ in range(9)]

    def call(number: int) -> int:
        if count > 1 and number % count == 0 and number < 8:
            assert ended[number + 1].wait(10)
        ended[number].set()
        return number * number

    assert [*map_concurrently(call, range(9), count)] == [n * n for n in range(9)]


def test_each_has_its_share_of_threads_and_others_keep_theirs(four_threads: None) -> None:
    assert [*map_concurrently(lambda _: torch.get_num_threads(), range(6), 2)] == [2] * 6
    assert [*map_concurrently(lambda _: torch.get_num_threads(), range(6), 1)] == [4] * 6
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == 4
    assert torch.get_num_threads() == 4


def test_no_item_is_taken_long_before_its_turn(four_threads: None) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    for result in map_concurrently(lambda number: number, items(), 4):
        assert len(taken) <= result + 5


def test_an_error_comes_to_the_caller_and_ends_the_work(four_threads: None) -> None:
    def call(number: int) -> int:
        if number == 3:
            raise ValueError("number 3")
        return number

    results = map_concurrently(call, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(results)
    assert torch.get_num_threads() == 4
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPoolExecutor")]


def test_one_at_a_time_stays_in_the_callers_thread() -> None:
    assert {*map_concurrently(lambda _: threading.get_ident(), range(3), 1)} == {
        threading.get_ident()
    }
