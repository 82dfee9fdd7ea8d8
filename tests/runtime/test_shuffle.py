"""A shuffle is a permutation, whatever the number."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae3d.runtime.shuffle import Shuffle


@given(n=st.integers(1, 5000), seed=st.integers(0, 9))
def test_each_once(n: int, seed: int) -> None:
    order = Shuffle(n, seed, "order", 0)(np.arange(n))
    assert sorted(order.tolist()) == list(range(n))


def test_any_part_without_the_rest() -> None:
    shuffle = Shuffle(10**12, 3, "order", 1)
    window = np.arange(10**9, 10**9 + 50)
    assert shuffle(window).tolist() == [int(shuffle(window[i : i + 1])[0]) for i in range(50)]
    assert len(set(shuffle(window).tolist())) == 50


def test_it_mixes_well() -> None:
    n = 20000
    orders = [Shuffle(n, 0, "order", epoch)(np.arange(n)) for epoch in range(2)]
    for order in (*orders, orders[0][np.argsort(orders[1])]):
        assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.03
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.03
        assert abs((order == np.arange(n)).sum() - 1) < 8
