"""Norms and activations for 2D and 3D, by name."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Each voxel's channel vector to mean 0 and variance 1: pointwise in space, like RMSNorm.

    Ba et al. 2016 (arXiv:1607.06450), over the channels of one voxel.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) to the same shape and type."""
        moved = x.movedim(1, -1)
        normed = F.layer_norm(moved, moved.shape[-1:], self.weight, self.bias, self.eps)
        return normed.to(x.dtype).movedim(-1, 1)


class RMSNorm(nn.Module):
    """Scales each voxel's channel vector to unit root mean square: pointwise in space.

    Nothing is averaged over the image, so a tile is normed as the whole would be
    (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) to the same shape and type."""
        # A vector norm with a wider accumulator reads bfloat16 without a float32 copy.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
        scale = torch.rsqrt(norm.square() / x.shape[1] + self.eps)
        weight = self.weight.to(x.dtype).reshape(-1, *(1,) * (x.dim() - 2))
        result: Tensor = x * scale.to(x.dtype) * weight
        return result


BATCH_NORMS: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}

Norm = Callable[[int, int, int], nn.Module]

NORMS: dict[str, Norm] = {
    "rms": lambda dims, channels, groups: RMSNorm(channels),
    "layer": lambda dims, channels, groups: LayerNorm(channels),
    "group": lambda dims, channels, groups: nn.GroupNorm(groups, channels, eps=1e-6),
    "instance": lambda dims, channels, groups: nn.GroupNorm(channels, channels),
    "batch": lambda dims, channels, groups: BATCH_NORMS[dims](channels),
    "none": lambda dims, channels, groups: nn.Identity(),
}
"""Norms by name, built from (spatial_dims, channels, groups)."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
}

FINAL_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh}
"""What the reconstruction passes through last; the model's range is [-1, 1]."""
