"""The state of a training as tensors and plain values: its strings, its size, what it lacks."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from vae3d.errors import CheckpointError


@contextlib.contextmanager
def missing_parts_as_errors(path: Path) -> Iterator[None]:
    """Raise errors of loading a state, such as a missing key, as a CheckpointError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: a checkpoint lacks or does not fit: {reason}") from error


def interned(value: Any) -> Any:
    """Return a state whose equal strings are one object each.

    Pickle writes an object once and refers to it afterwards: the bytes of a state that was loaded
    would be others than those of the same state that was not.
    """
    if isinstance(value, str):
        return sys.intern(value)
    if type(value) is dict:
        return {interned(key): interned(entry) for key, entry in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(interned, value))
    return value


def num_bytes(state: Any) -> int:
    """Return the bytes of the tensors in a state, and a few more for keys and file headers."""
    if isinstance(state, Tensor):
        return state.nbytes + 256
    values = state.values() if isinstance(state, dict) else state
    return sum(map(num_bytes, values)) + 256 if isinstance(state, dict | list | tuple) else 16
