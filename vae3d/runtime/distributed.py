"""`Distributed`: one interface for one process and for many."""

import contextlib
import gc
import os
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vae3d.errors import ConfigError, RankError, UserError
from vae3d.runtime.choices import ONE_GPU, REFUSED_DEVICES
from vae3d.runtime.kernels import fast_kernels
from vae3d.runtime.messages import messages_of_rank
from vae3d.runtime.threads import follow_quota

K = TypeVar("K")
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
        """Whether this is rank 0, which writes files and reports to the user."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model on this rank's device; DDP averages its gradients over the ranks."""
        model = model.to(self.device)
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        # Both memory formats of a kernel of one voxel are the same, yet their strides differ,
        # about which DDP warns.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        # Gradients in DDP's own buffers save one copy of all of them.
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all ranks."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradients by their sums over all ranks."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world == 1 or not gradients:
            return
        # One exchange of all of them instead of one for each.
        sums = self.sum(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = torch.split(sums, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank; every rank gets the same result.

        The flags are on the CPU, so that no rank waits for its GPU.
        """
        return flag if self.world == 1 else bool(self.sum(torch.tensor(float(flag))).item() > 0)

    def gather(self, value: T) -> list[T]:
        """Return the picklable value of every rank, in the order of ranks, on every rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def merge(self, mine: dict[K, T]) -> dict[K, T]:
        """Return the picklable entries of all ranks, whose keys differ, on every rank."""
        return {key: value for part in self.gather(mine) for key, value in part.items()}

    @contextlib.contextmanager
    def entered_by_main(self, context: AbstractContextManager[None]) -> Iterator[None]:
        """Enter a context on rank 0 alone, and continue on all ranks only if that succeeds.

        Raises:
            UserError: rank 0 was refused; other ranks end without a message of their own.
        """
        with contextlib.ExitStack() as stack:
            refusal: UserError | None = None
            if self.is_main:
                try:
                    stack.enter_context(context)
                except UserError as error:
                    refusal = error
            refused = self.gather(refusal)[0]
            if refused is not None:
                raise refused if self.is_main else UserError("")
            yield

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        self.any(False)


@contextlib.contextmanager
def start_distributed(
    device: str = "auto", timeout: float = 1800, key: str = "trainer.device"
) -> Iterator[Distributed]:
    """Join the process group that `torchrun` sets in the environment, if there is one.

    Tensors on GPUs are exchanged by nccl; flags, objects and tensors on a CPU by gloo, which
    raises an error where a rank is lost. A rank that keeps the others waiting for `timeout`
    seconds ends the job. `key` is the setting that `device` is the value of.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")), world, key)
    follow_quota()
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    with contextlib.ExitStack() as stack:
        stack.enter_context(fast_kernels(chosen))
        stack.enter_context(messages_of_rank(rank))
        if world > 1 and not dist.is_initialized():
            stack.enter_context(_process_group(chosen, timedelta(seconds=timeout)))
        yield Distributed(rank, world, chosen)


@contextlib.contextmanager
def _process_group(device: torch.device, timeout: timedelta) -> Iterator[None]:
    """Join the process group, and leave it at the end.

    After an error a group of GPUs is not left: nccl would wait for ranks that do not come.
    """
    if device.type == "cpu":
        dist.init_process_group("gloo", timeout=timeout)
    else:
        dist.init_process_group("cpu:gloo,cuda:nccl", timeout=timeout, device_id=device)
    try:
        yield
    except BaseException:
        if device.type == "cpu":
            _leave()
        raise
    _leave()


def _leave() -> None:
    """Leave the process group after all that refers to it is gone.

    The last one to refer to it waits for the threads of the group. DDP would do so with Python's
    lock, for which one of those threads may wait.
    """
    gc.collect()
    dist.destroy_process_group()


@contextlib.contextmanager
def lost_ranks_as_errors(step: Callable[[], int]) -> Iterator[None]:
    """Turn torch's errors about a rank that ended or does not answer into a RankError."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not _LOST.search(text):
            raise
        timed_out = "Timed out" in text or "timeout" in text.lower()
        what = "did not answer in time (trainer.timeout)" if timed_out else "has ended"
        raise RankError(
            f"step {step()}: another rank {what}; its own message, if any, has the reason"
        ) from error


def choose_device(
    device: str, local_rank: int = 0, world: int = 1, key: str = "trainer.device"
) -> torch.device:
    """Return the device by name; `auto` is this rank's GPU if there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    name, _, number = device.partition(":")
    if re.fullmatch(ONE_GPU, device):
        if world > 1:
            raise ConfigError(f"{key}={device} is for one process; with several type {key}=cuda")
        device, local_rank = name, int(number)
    if device not in ("cpu", "cuda"):
        reason = REFUSED_DEVICES.get(device)
        why = f": {reason}" if reason else ""
        raise ConfigError(f"{key} must be auto, cpu or cuda, got {device!r}{why}")
    if device == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if number and local_rank >= count:
        raise ConfigError(
            f"{key}=cuda:{number}: {count} GPUs are visible to torch, from cuda:0 on"
        )
    if local_rank >= count and world == 1:
        raise ConfigError(f"{key}=cuda needs a GPU, but none is visible to torch; type {key}=cpu")
    if local_rank >= count:
        raise ConfigError(
            f"{key}=cuda needs a GPU for each rank, but there is none for local rank "
            f"{local_rank} ({count} visible); start fewer ranks or type {key}=cpu"
        )
    return torch.device("cuda", local_rank)
