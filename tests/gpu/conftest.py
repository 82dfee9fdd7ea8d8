"""The device of the tests: a GPU (marker `gpu`), or for a rehearsal the CPU (marker `rehearsal`).

A rehearsal shows that the tests themselves work, on a machine without a GPU.
"""

import pytest
import torch

DEVICES = [
    pytest.param("cuda", marks=pytest.mark.gpu),
    pytest.param("cpu", marks=pytest.mark.rehearsal),
]


@pytest.fixture(params=DEVICES)
def accelerator(request: pytest.FixtureRequest) -> torch.device:
    """The device to test."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)


@pytest.fixture(params=DEVICES[:1])
def gpu(request: pytest.FixtureRequest) -> torch.device:
    """A GPU, for what a CPU does not have."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device(request.param)
