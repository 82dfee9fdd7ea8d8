"""Voxel-wise losses, averaged over each case."""

import torch.nn.functional as F
from torch import Tensor

HUBER_DELTA = 0.1
"""Absolute error at which the Huber loss becomes linear, in the range [-1, 1]."""


def l1(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean absolute error of each case, (B,)."""
    return (reconstruction - image).abs().flatten(1).mean(dim=1)


def mse(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean squared error of each case, (B,)."""
    return (reconstruction - image).square().flatten(1).mean(dim=1)


def huber(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean Huber loss of each case, divided by HUBER_DELTA, (B,).

    Huber 1964 (Ann. Math. Stat. 35:73): half the squared error up to HUBER_DELTA, linear beyond.
    The division gives the linear part the slope of l1.
    """
    losses = F.smooth_l1_loss(reconstruction, image, reduction="none", beta=HUBER_DELTA)
    return losses.flatten(1).mean(dim=1)


def charbonnier(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return the mean of sqrt(error^2 + 10^-6), a smooth l1, of each case, (B,).

    Charbonnier et al. 1994 (ICIP).
    """
    return ((reconstruction - image).square() + 1e-6).sqrt().flatten(1).mean(dim=1)
