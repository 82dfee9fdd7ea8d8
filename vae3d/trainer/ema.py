"""`ExponentialMovingAverage`: the average of the weights over the steps."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vae3d.model.frozen import frozen_names


class ExponentialMovingAverage:
    """The average of the weights, in float32; without a decay, the weights themselves.

    An update is decay * average + (1 - decay) * weights. The first updates use the smaller decay
    (1 + updates) / (10 + updates), so that the random initialisation soon has no weight. Frozen
    weights are their own average.
    """

    def __init__(self, model: nn.Module, decay: float | None) -> None:
        self.model = model
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self._current: dict[str, Tensor] = {}
        if decay is not None:
            # They share the memory of the weights, which change in place.
            weights = model.state_dict()
            frozen = frozen_names(model)
            self._current = {k: v for k, v in weights.items() if k not in frozen}
            self.average = {k: v.clone() if k in self._current else v for k, v in weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Update the average with the weights after a step."""
        if self.decay is None:
            return
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, weights = [], []
        for name, value in self._current.items():
            if value.is_floating_point():
                averages.append(self.average[name])
                weights.append(value)
            else:
                self.average[name].copy_(value)
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """Return the weights to validate and save: the average, or the model's own."""
        return self.average if self.decay is not None else self.model.state_dict()

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Restore `updates` and `average`.

        Raises:
            KeyError: the average is of other tensors.
        """
        if values["average"].keys() != self.average.keys():
            raise KeyError(f"the average of {len(self.average)} tensors")
        self.updates = values["updates"]
        for name, value in values["average"].items():
            self.average[name].copy_(value)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Replace the model's weights with the average inside this context."""
        if self.decay is None:
            yield
            return
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(own)
