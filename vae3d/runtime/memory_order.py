"""Gradients and states of optimizers in the memory order of their weights.

Fused optimizers go through the memory of weights, gradients and states in one order, whatever
their strides are.
"""

from typing import Any

import torch
from torch import Tensor, nn


def add_gradient(parameter: nn.Parameter, gradient: Tensor | None) -> None:
    """Add a gradient to a parameter's own, in the memory order of the parameter."""
    if gradient is None:
        return
    if parameter.grad is None:
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    else:
        parameter.grad.add_(gradient)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore the state of an optimizer; rates, betas and weight decay stay those of now.

    Raises:
        KeyError: the state is of other tensors.
    """
    own = optimizer.state_dict()["param_groups"]
    expected = {index for group in own for index in group["params"]}
    saved = {*state["state"]}
    if saved and saved != expected:
        raise KeyError(f"the optimizer's state of {len(expected ^ saved)} tensors")
    optimizer.load_state_dict(state)
    # The state may be from a device on which weights have another memory format.
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)
    for group, current in zip(optimizer.param_groups, own, strict=True):
        group.update({k: v for k, v in current.items() if k != "params"})
