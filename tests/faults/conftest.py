"""What the fault tests share: mutations, and a clock that fails what hangs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

Hurry = Callable[[str], AbstractContextManager[None]]
SECONDS = 10
"""No refusal takes longer: only what hangs does."""


def mutated(content: bytes, end: int, most: int, rng: np.random.Generator) -> bytes:
    """The content with 1 to `most` of its bytes before `end` changed, often to telling values."""
    damaged = bytearray(content)
    for place in rng.integers(end, size=rng.integers(1, most + 1)):
        values = (rng.integers(256), damaged[place] ^ (1 << rng.integers(8)), 0, 127, 128, 255)
        damaged[place] = int(values[rng.integers(len(values))])
    return bytes(damaged)


@pytest.fixture
def hurry() -> Iterator[Hurry]:
    """`with hurry(what)` fails if its body takes longer than SECONDS."""
    at = ["nothing"]

    def too_slow(*_: object) -> None:
        # No Exception: one that the code under test catches would hide it.
        pytest.fail(f"{at[0]}: still busy after {SECONDS} s")

    @contextmanager
    def within(what: str) -> Iterator[None]:
        at[0] = what
        signal.alarm(SECONDS)
        yield
        signal.alarm(0)

    before = signal.signal(signal.SIGALRM, too_slow)
    yield within
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
