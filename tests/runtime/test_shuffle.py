"""A shuffle is a permutation, whatever the number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae3d.runtime.shuffle import Shuffle, _mix


@given(n=st.integers(1, 5000), seed=st.integers(0, 9))
def test_each_once(n: int, seed: int) -> None:
    order = Shuffle(n, seed, "order", 0)(np.arange(n))
    assert sorted(order.tolist()) == list(range(n))


def test_any_part_without_the_rest() -> None:
    shuffle = Shuffle(10**12, 3, "order", 1)
    window = np.arange(10**9, 10**9 + 50)
    assert shuffle(window).tolist() == [int(shuffle(window[i : i + 1])[0]) for i in range(50)]
    assert len(set(shuffle(window).tolist())) == 50


def test_an_order_is_pinned() -> None:
    """A run that is resumed goes through its epoch as it began to."""
    assert Shuffle(1000, 7, "order", 2)(np.arange(6)).tolist() == [323, 656, 620, 381, 408, 797]
    assert Shuffle(1024, 7, "order", 2)(np.arange(6)).tolist() == [323, 656, 620, 381, 408, 797]
    values = np.array([0, 1, 2**63, 0x123456789ABCDEF], np.uint64)
    assert _mix(values).tolist() == [splitmix(int(value)) for value in values]


def splitmix(value: int) -> int:
    """The finaliser of SplitMix64 in whole numbers."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        value = (value ^ (value >> shift)) * factor % 2**64 if shift < 31 else value ^ value >> 31
    return value


def test_it_mixes_well() -> None:
    n = 20000
    orders = [Shuffle(n, 0, "order", epoch)(np.arange(n)) for epoch in range(2)]
    for order in (*orders, orders[0][np.argsort(orders[1])]):
        assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.03
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.03
        assert abs((order == np.arange(n)).sum() - 1) < 8
