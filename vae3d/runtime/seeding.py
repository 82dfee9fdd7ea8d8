"""Random generators by name: every draw is a function of (seed, purpose, numbers).

Therefore neither the number of workers or ranks nor an interruption can change a draw.
"""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """Return the 63-bit seed of one named draw, the same on every machine.

    Seeds of neighbouring numbers are unrelated: they are SHA-256 hashes.
    """
    text = ":".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return a counter-based numpy generator for one named draw."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, purpose, *numbers)))


def torch_generator(seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """Return a CPU torch generator for one named draw."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose, *numbers))


def seed_global(seed: int, purpose: str, *numbers: int) -> None:
    """Seed the global generators of torch, random and numpy, which dropout and init draw from."""
    value = derive_seed(seed, purpose, *numbers)
    torch.manual_seed(value)
    random.seed(value)
    np.random.seed(value % 2**32)
