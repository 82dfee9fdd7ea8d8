"""Losses of each voxel on its own, averaged over a case."""

import torch.nn.functional as F
from torch import Tensor

HUBER_DELTA = 0.1


def l1(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean absolute error of each case, (B,)."""
    return (reconstruction - image).abs().flatten(1).mean(dim=1)


def mse(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Mean squared error of each case, (B,)."""
    return (reconstruction - image).square().flatten(1).mean(dim=1)


def huber(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Half the squared error up to HUBER_DELTA, linear beyond, divided by it, (B,).

    Huber 1964 (Ann. Math. Stat. 35:73); divided, so that its slope is that of l1.
    """
    losses = F.smooth_l1_loss(reconstruction, image, reduction="none", beta=HUBER_DELTA)
    return losses.flatten(1).mean(dim=1)


def charbonnier(reconstruction: Tensor, image: Tensor) -> Tensor:
    """sqrt(error^2 + 10^-6), a smooth l1 (Charbonnier et al. 1994, ICIP), (B,)."""
    return ((reconstruction - image).square() + 1e-6).sqrt().flatten(1).mean(dim=1)
