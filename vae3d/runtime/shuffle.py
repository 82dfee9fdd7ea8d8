"""`Shuffle`: a random permutation of 0 .. n-1 that takes no memory, whatever n."""

import numpy as np
from numpy.typing import NDArray

from vae3d.runtime.seeding import numpy_generator

ROUNDS = 6
"""Rounds of the Feistel network."""


class Shuffle:
    """A permutation of 0 .. n-1 as a function, drawn by (seed, purpose, numbers).

    A Feistel network over the smallest even number of bits that holds n permutes a range of up to
    4 n numbers. Results of n or more are permuted again until they are below n ("cycle walking",
    Black and Rogaway 2002).
    """

    def __init__(self, n: int, seed: int, purpose: str, *numbers: int) -> None:
        self.n = n
        self.half = np.uint64(max(1, -(-max(n - 1, 1).bit_length() // 2)))
        self.mask = np.uint64((1 << int(self.half)) - 1)
        draw = numpy_generator(seed, purpose, *numbers)
        self.keys = draw.integers(0, 2**64, size=ROUNDS, dtype=np.uint64)

    def __call__(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers at these positions of the permutation, int64."""
        values = self._permute(positions.astype(np.uint64))
        while (outside := values >= self.n).any():
            values[outside] = self._permute(values[outside])
        return values.astype(np.int64)

    def _permute(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = values >> self.half, values & self.mask
        for key in self.keys:
            left, right = right, left ^ (_mix(right ^ key) & self.mask)
        joined: NDArray[np.uint64] = (left << self.half) | right
        return joined


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return values in which every bit depends on every bit of the input.

    This is the finaliser of SplitMix64 (Steele, Lea and Flood 2014).
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
