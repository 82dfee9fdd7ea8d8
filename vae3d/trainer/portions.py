"""`Portions`: the parts of a batch, each forward and backward on threads of its own."""

import copy
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeVar

import torch
from torch import Tensor, nn

from vae3d.errors import ConfigError
from vae3d.loading.patches import Batch
from vae3d.runtime.memory_order import add_gradient
from vae3d.runtime.threads import Lanes
from vae3d.trainer.config import TrainerConfig

BatchNorm = nn.modules.batchnorm._BatchNorm
S = TypeVar("S")
Loss = Callable[[nn.Module, Batch], tuple[Tensor, S]]
"""Returns the loss of a batch, whose gradients are wanted, and what else is known of it."""


def portions_of(
    config: TrainerConfig, model: nn.Module, device: torch.device
) -> "Portions | None":
    """Return the portions of a training; None if its batches are computed as a whole.

    Raises:
        ConfigError: the batches of this training cannot be divided.
    """
    count = config.portions or 1
    if count == 1 and config.threads_per_portion is None:
        return None
    if config.compile:
        raise ConfigError("trainer.compile=true takes whole batches; type trainer.portions=1")
    if count > 1 and any(isinstance(module, BatchNorm) for module in model.modules()):
        raise ConfigError(
            "batch norms need the statistics of whole batches; type trainer.portions=1"
        )
    threads = config.threads_per_portion or 1
    lanes = config.lanes or max(1, torch.get_num_threads() // threads)
    return Portions(model, count, threads, lanes if device.type == "cpu" else 1)


class Portions:
    """Computes the gradients of batches in `count` portions each, `lanes` of them at a time.

    The gradients of the portions are added in their order. The sum is therefore bit-identical for
    any number of lanes, as long as `threads`, torch's threads of each portion, stay.
    """

    def __init__(self, model: nn.Module, count: int, threads: int, lanes: int) -> None:
        self.count = count
        self.threads = threads
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self._lanes = Lanes(min(lanes, count), threads)
        # Each lane has modules of its own, since a pass may note something in a module, as dropout
        # does. The tensors are shared.
        tensors = [*model.parameters(), *model.buffers()]
        self._models: SimpleQueue[nn.Module] = SimpleQueue()
        for lane in range(self._lanes.count):
            own = copy.deepcopy(model, {id(t): t for t in tensors}) if lane else model
            self._models.put(own)

    def backward(self, loss: Loss[S], batches: Iterable[Batch]) -> Iterator[S]:
        """Add the gradients of the loss of all batches; yield what else it returns, in order.

        Only one portion for each lane is in memory, besides the batches themselves.
        """

        def gradients(portion: Batch) -> tuple[tuple[Tensor | None, ...], S]:
            model = self._models.get().train()
            try:
                total, known = loss(model, portion)
                return torch.autograd.grad(total, self.parameters, allow_unused=True), known
            finally:
                self._models.put(model)

        portions = (portion for batch in batches for portion in batch.split(self.count))
        for of_portion, known in self._lanes.map(gradients, portions):
            for parameter, gradient in zip(self.parameters, of_portion, strict=True):
                add_gradient(parameter, gradient)
            yield known

    def close(self) -> None:
        """End the threads."""
        self._lanes.close()
