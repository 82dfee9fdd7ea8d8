"""`recomputed`: activations that are computed again in the backward pass instead of being kept."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.utils.checkpoint import checkpoint

RECOMPUTATIONS = ("nothing", "norms", "block", "all")
"""What a residual block computes again in the backward pass: nothing; its norms and activations,
from what their layers read; the block, from its input; or the block, and its norms and activations
once more while its own gradients are computed."""

_thread = threading.local()


def recomputed(
    function: Callable[..., Tensor], *arguments: Any, ends_in_convolution: bool = False
) -> Tensor:
    """Return function(*arguments), keeping only the arguments for the backward pass.

    Gradients are bit-identical to those of function(*arguments). A function that
    `ends_in_convolution` has no other convolution; that one is not computed again, since its
    gradients need its input alone.
    """
    result: Tensor = checkpoint(
        function,
        *arguments,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _recomputing(ends_in_convolution)),
    )
    return result


def is_recomputing() -> bool:
    """Return whether this thread computes activations again, in a backward pass."""
    return bool(_running())


def needs_output() -> bool:
    """Return whether the output of a convolution is needed, not only its saved input."""
    return not (_running() and _running()[-1])


@contextlib.contextmanager
def _recomputing(ends_in_convolution: bool) -> Iterator[None]:
    _running().append(ends_in_convolution)
    try:
        yield
    finally:
        _running().pop()


def _running() -> list[bool]:
    """Return, for each recomputation that this thread is in, whether it ends in a convolution."""
    if not hasattr(_thread, "running"):
        _thread.running = []
    running: list[bool] = _thread.running
    return running
