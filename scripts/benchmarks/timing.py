"""`alternate`: contenders measured alternately, so that their ratios are of the same minutes."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

Measure = Callable[[], float]
"""Measures once and returns the value, of which every contender of a table has the same unit."""


@dataclass(frozen=True)
class Spread:
    """The median of some values, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def shown(self, digits: int = 2) -> str:
        """Return `median (low to high)`."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class Samples:
    """The values of each contender, one for each round."""

    values: dict[str, list[float]]

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return len(next(iter(self.values.values())))

    def spread(self, name: str) -> Spread:
        """Return the spread of a contender's values."""
        return Spread.of(self.values[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Return the spread of the ratios of two contenders, taken round by round."""
        pairs = zip(self.values[name], self.values[to], strict=True)
        return Spread.of([a / b for a, b in pairs])


def alternate(
    contenders: Mapping[str, Measure],
    rounds: int,
    seconds: float = math.inf,
    warm_up: bool = True,
) -> Samples:
    """Measure each contender once in each round, in the opposite order in every second round.

    After `seconds` no round is begun, but two are always done if `rounds` allows it. The first
    call of a contender allocates and chooses what later ones reuse: `warm_up` makes it before the
    rounds and discards its value.
    """
    start = time.perf_counter()
    if warm_up:
        for measure in contenders.values():
            measure()
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        if number >= 2 and time.perf_counter() - start > seconds:
            break
        for name in [*contenders] if number % 2 == 0 else reversed([*contenders]):
            values[name].append(contenders[name]())
    return Samples(values)


def timed(call: Callable[[], object], device: torch.device | None = None) -> Measure:
    """Return what measures the seconds of a call, until its device has finished."""

    def measure() -> float:
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        return time.perf_counter() - start

    return measure


def synchronize(device: torch.device | None) -> None:
    """Wait until a CUDA device has computed what it was given."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
