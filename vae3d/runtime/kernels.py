"""How a GPU computes: TF32 in products of float32, and a search for the fastest convolutions."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def fast_kernels(device: torch.device) -> Iterator[None]:
    """Within the context, let a GPU compute float32 in TF32 and search for fast convolutions.

    TF32 is as exact as bfloat16 and several times faster than float32. Patches have few shapes, so
    that cuDNN searches the fastest kernel of each only once. On a CPU nothing is changed. All
    settings are restored at the end, for a program that uses vae3d as a library.
    """
    if device.type != "cuda":
        yield
        return
    with _tf32_products(), kernel_search(device, True):
        yield


@contextlib.contextmanager
def kernel_search(device: torch.device, on: bool) -> Iterator[None]:
    """Within the context, let cuDNN search for the fastest kernel of each shape, or not.

    A search tries each kernel with its memory. For whole volumes, of which each has a shape of its
    own, it costs more than it saves.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = on
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextlib.contextmanager
def _tf32_products() -> Iterator[None]:
    """Within the context, compute matrix products of float32 in TF32.

    torch has an old and a new interface for this, and raises an error where the old one is read
    after the new one alone was set, as its own compiler does. The old one sets both.
    """
    new = torch.backends.cuda.matmul.fp32_precision
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:
        # The program has used the new interface, so its own setting is restored with that.
        old = None
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        if old is not None:
            torch.set_float32_matmul_precision(old)
        else:
            torch.backends.cuda.matmul.fp32_precision = new
