"""Operations of a call, and the matrix product that they are related to."""

import warnings
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def flops(call: Callable[[], object]) -> int:
    """Return the operations of a call, a multiplication with its addition as two.

    Work of other threads is not counted.
    """
    with warnings.catch_warnings():
        # torch warns of an unused setting of Intel GPUs when oneDNN is switched off.
        warnings.filterwarnings("ignore", message="TF32 acceleration on top of oneDNN")
        # The counter knows torch's own convolution alone, not oneDNN's called directly.
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            call()
    return int(counter.get_total_flops())


def matrix_product(
    side: int, device: torch.device, dtype: torch.dtype | None = None
) -> Callable[[], object]:
    """Return a product of two square matrices, which has 2 * side**3 operations."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: torch.mm(a, b)
