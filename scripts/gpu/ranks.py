"""`vae3d` with all ranks on one device, by gloo: nccl takes a GPU for each rank.

    torchrun --nproc-per-node 2 scripts/gpu/ranks.py train ...

This shows on a machine with one GPU that several ranks train as one does. It is slow: gradients
are copied through the CPU.
"""

import contextlib
import sys
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from vae3d.cli import main
from vae3d.runtime import distributed


@contextlib.contextmanager
def gloo_group(device: torch.device, timeout: timedelta) -> Iterator[None]:
    """Join a group that exchanges everything by gloo."""
    dist.init_process_group("gloo", timeout=timeout)
    yield
    dist.destroy_process_group()


def first_device(
    device: str, local_rank: int = 0, world: int = 1, key: str = "trainer.device"
) -> torch.device:
    """Return the first device of the kind, for every rank."""
    return own_choice(device, 0, 1, key)


own_choice = distributed.choose_device
distributed.choose_device = first_device
distributed._process_group = gloo_group

if __name__ == "__main__":
    sys.exit(main())
