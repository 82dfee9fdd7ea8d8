"""One process or many: the same interface, so that nothing above asks which."""

import contextlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae3d.errors import ConfigError, RankError
from vae3d.runtime.messages import messages_of_rank

T = TypeVar("T")
_LOST = re.compile(r"gloo/transport|Connection closed by peer|Timed out waiting|NCCL|ProcessGroup")


@dataclass(frozen=True)
class Distributed:
    """This process among its peers: `rank` of `world`, computing on `device`."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """True on the one rank that writes files and talks to the user."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model on this rank's device, averaging its gradients over the ranks."""
        model = model.to(self.device)
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        # Of a kernel of one voxel both orders of memory are the same, yet DDP sees two.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        return DistributedDataParallel(model, device_ids=devices)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; every rank gets the same answer."""
        return bool(self.sum(torch.tensor(float(flag), device=self.device)).item() > 0)

    def gather(self, value: T) -> list[T]:
        """The picklable value of every rank, in the order of ranks, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Waits until every rank has come here."""
        if self.world > 1:
            dist.barrier()


@contextlib.contextmanager
def start_distributed(device: str = "auto", timeout: float = 1800) -> Iterator[Distributed]:
    """Joins the process group that `torchrun` announces in the environment, or stays alone.

    Uses nccl where each rank has a GPU, else gloo. A rank that keeps the others waiting for
    `timeout` seconds ends the job.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
        # Patches come in few shapes: each finds its fastest kernel once. TF32 is as exact as
        # bfloat16's products and several times faster than float32's.
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    with messages_of_rank(rank):
        if world == 1 or dist.is_initialized():
            yield Distributed(rank, world, chosen)
            return
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        try:
            yield Distributed(rank, world, chosen)
        finally:
            dist.destroy_process_group()


@contextlib.contextmanager
def naming_lost_ranks(step: Callable[[], int]) -> Iterator[None]:
    """What torch says of a rank that is gone, or does not answer, as a RankError of this step."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not _LOST.search(text):
            raise
        silent = "Timed out" in text or "timeout" in text.lower()
        what = "did not answer in time (trainer.timeout)" if silent else "has ended"
        raise RankError(
            f"step {step()}: another rank {what}; its own message, if any, says why"
        ) from error


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """The device by name; `auto` takes this rank's GPU where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"trainer.device must be auto, cpu or cuda, got {device!r}")
    if device == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"trainer.device=cuda needs a GPU for each rank, but rank {local_rank} finds "
            f"{count}; start fewer ranks or say trainer.device=cpu"
        )
    return torch.device("cuda", local_rank)
