"""What the two players minimise: functions of the discriminator's output and features."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """The losses of both players, each a function of the discriminator's output at one place.

    The discriminator minimises the mean of `real` at scans and `fake` at reconstructions, the
    decoder `generator` at reconstructions. Outputs above `threshold` count as "is a scan".
    """

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    threshold: float


LOSSES = {
    # Lim and Ye 2017 (arXiv:1705.02894, equations 5 and 6).
    "hinge": AdversarialLoss(
        real=lambda x: F.relu(1 - x),
        fake=lambda x: F.relu(1 + x),
        generator=lambda x: -x,
        threshold=0.0,
    ),
    # Mao et al. 2017 (arXiv:1611.04076, equation 9): 1 for scans, 0 for reconstructions. The
    # decoder's term has no factor of one half, as in MONAI, so that weights can be compared.
    "least_squares": AdversarialLoss(
        real=lambda x: (x - 1).square(),
        fake=lambda x: x.square(),
        generator=lambda x: (x - 1).square(),
        threshold=0.5,
    ),
}
"""Losses by the name in `loss.adversary.kind`."""


def per_case(values: Tensor) -> Tensor:
    """Return the mean of (B, ...) over each case, (B,) in float32."""
    return values.float().flatten(1).mean(dim=1)


def feature_distance(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Return the mean absolute distance of features (B, C, *spatial), averaged over layers, (B,).

    Wang et al. 2018 (arXiv:1711.11585, equation 4), as a mean over the layers instead of their
    sum, so that the weight does not depend on their number. The scan's features are constants.
    """
    distances = [per_case((b - a.detach()).abs()) for a, b in zip(real, fake, strict=True)]
    return torch.stack(distances).mean(dim=0)


def gradient_penalty(output: Tensor, image: Tensor) -> Tensor:
    """Return half of the squared norm of the gradient at scans, (B,), with a graph of its own.

    R1 of Mescheder et al. 2018 (arXiv:1801.04406, equation 9), for the mean output of each case.
    `image` (B, C, *spatial) must require a gradient.
    """
    (gradient,) = torch.autograd.grad(per_case(output).sum(), image, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1) / 2
