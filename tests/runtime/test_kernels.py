"""What a GPU's kernels are set to, and that a program's own settings come back.

The settings exist without a GPU, where they have no effect.
"""

import contextlib
from collections.abc import Iterator

import pytest
import torch

from vae3d.runtime.kernels import fast_kernels, kernel_search

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def settings() -> tuple[str, bool, bool]:
    """Products by both interfaces, and the search of kernels."""
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.benchmark,
    )


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.benchmark = False


def test_settings_are_restored_whatever_happens() -> None:
    before = settings()
    for device, within in ((CUDA, ("high", True, True)), (CPU, before)):
        with contextlib.suppress(KeyError), fast_kernels(device):
            # The old interface can be read, as torch's compiler does.
            assert settings() == within
            raise KeyError
        assert settings() == before


def test_a_program_that_uses_the_new_interface_keeps_it() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with fast_kernels(CUDA):
        assert settings()[0] == "high"
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_whole_volumes_are_not_searched_for() -> None:
    with fast_kernels(CUDA), kernel_search(CUDA, False):
        assert not torch.backends.cudnn.benchmark
        with kernel_search(CUDA, True):
            assert torch.backends.cudnn.benchmark
        assert not torch.backends.cudnn.benchmark
