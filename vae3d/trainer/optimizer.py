"""The optimizers, with weight decay on convolutions only, and the learning rate of a step."""

import math
from functools import partial
from typing import Any

import torch
from torch import nn

from vae3d.trainer.config import OPTIMIZERS

# Fused: one kernel for all weights, which can skip a step by a flag on the device (`found_inf`).
adamw = partial(torch.optim.AdamW, fused=True)
adam = partial(torch.optim.Adam, fused=True)


def sgd(groups: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """Return SGD with Nesterov momentum 0.9, which begins at zero.

    torch would allocate the momentum in the first step, and leave it uninitialised where that
    step is skipped.
    """
    optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, fused=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def build_optimizer(
    name: str, model: nn.Module, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer of a model; biases and norms, which have one axis, have no decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[name]([group for group in groups if group["params"]], lr=lr)


def learning_rate(
    step: int, total: int, peak: float, warmup_steps: int, min_ratio: float
) -> float:
    """Return the rate of a step: linear warm-up to `peak`, then a cosine to `peak * min_ratio`.

    Step 0 has the rate `peak / warmup_steps`, not 0; the cosine ends at step `total`.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, total - warmup_steps))
    return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))
