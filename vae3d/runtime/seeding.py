"""Randomness as a function: every draw is named by (seed, purpose, numbers), never by its turn.

Therefore neither the number of workers, nor of ranks, nor an interruption can change a draw.
"""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one named draw: the same on every machine, unrelated to its neighbours."""
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A counter-based numpy generator for one named draw."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, purpose, *numbers)))


def torch_generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A CPU torch generator for one named draw."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


def seed_global(seed: int, purpose: str, *numbers: int) -> None:
    """Seeds the global generators, for the draws that torch makes by itself (dropout, init)."""
    value = derive_seed(seed, purpose, *numbers)
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value % 2**32)
