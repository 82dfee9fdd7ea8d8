"""A GPU that is out of memory is one line, of any command."""

import pytest
import torch

from vae3d.errors import ResourceError
from vae3d.system.limits import limits_as_errors

OUT = "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.1 GiB"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError(OUT), r"the GPU is out of memory \(2\.50 GiB more.*memory=2"),
        (
            RuntimeError("CUDA error: out of memory\nAsync"),
            "the GPU is out of memory;",
        ),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "the GPU is out of memory;"),
    ],
    ids=["torch", "driver", "cudnn"],
)
def test_the_memory_of_a_gpu_is_a_limit(error: Exception, message: str) -> None:
    with pytest.raises(ResourceError, match=message), limits_as_errors():
        raise error
