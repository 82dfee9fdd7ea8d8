"""What the fault tests share: mutations, and a clock that fails what hangs."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import pytest

Hurry = Callable[[str], AbstractContextManager[None]]
LIMITS = {
    signal.SIGPROF: (signal.ITIMER_PROF, 10),
    signal.SIGALRM: (signal.ITIMER_REAL, 60),
}
"""Seconds of work, and of waiting, which on a busy machine may be no one's fault."""


def mutated(content: bytes, end: int, most: int, rng: np.random.Generator) -> bytes:
    """The content with 1 to `most` of its bytes before `end` changed, often to telling values."""
    damaged = bytearray(content)
    for place in rng.integers(end, size=rng.integers(1, most + 1)):
        values = (rng.integers(256), damaged[place] ^ (1 << rng.integers(8)), 0, 127, 128, 255)
        damaged[place] = int(values[rng.integers(len(values))])
    return bytes(damaged)


@pytest.fixture
def hurry() -> Iterator[Hurry]:
    """`with hurry(what)` fails if its body takes longer than LIMITS."""
    at = ["nothing"]

    def too_slow(*_: object) -> None:
        # No Exception: one that the code under test catches would hide it.
        pytest.fail(f"{at[0]}: still busy")

    def set_timers(on: bool) -> None:
        for timer, seconds in LIMITS.values():
            signal.setitimer(timer, seconds * on)

    @contextmanager
    def within(what: str) -> Iterator[None]:
        at[0] = what
        set_timers(True)
        try:
            yield
        finally:
            set_timers(False)

    before = {number: signal.signal(number, too_slow) for number in LIMITS}
    yield within
    set_timers(False)
    for number, handler in before.items():
        signal.signal(number, handler)
