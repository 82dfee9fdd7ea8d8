"""Convolutions, norms and activations for 2D and 3D, by name."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOW_IMAGE = 20480
"""torch 2.13 takes oneDNN for a single float32 image only above so many numbers a column."""


class SafeConv3d(nn.Conv3d):
    """A Conv3d that stays clear of two faults of torch's CPU kernels.

    Where an axis has two voxels or less it computes in float32: oneDNN 3.12 reads memory it never
    wrote for the bfloat16 gradient of a kernel of 3 on an image of 2 x 2 x 2, values of 1e30 and
    more. An image so small costs nothing.

    One float32 image whose channels x depth x height are SLOW_IMAGE or less would go to a kernel
    that unfolds it, some ten times slower than oneDNN's: it is computed twice, as a batch of two.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        if x.device.type != "cpu":
            return super().forward(x)
        if min(x.shape[2:]) <= 2:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.to(self.weight.dtype))
        if self._is_slow(x):
            return super().forward(x.expand(2, *x.shape[1:]))[:1]
        return super().forward(x)

    def _is_slow(self, x: Tensor) -> bool:
        in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        unfolded = max(self.kernel_size) > 1 and x.shape[0] == 1
        return in_float32 and unfolded and x[0, ..., 0].numel() <= SLOW_IMAGE


CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: SafeConv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def convolution(
    spatial_dims: int,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: tuple[int, ...] | None = None,
) -> nn.Module:
    """A convolution whose output is exactly `stride` times smaller than a multiple of it.

    A stride above the kernel widens the kernel, so that no voxel is skipped.
    """
    stride = stride or (1,) * spatial_dims
    kernels = tuple(max(kernel, s) for s in stride)
    padding = tuple((k - 1) // 2 for k in kernels)
    return CONVOLUTIONS[spatial_dims](inputs, outputs, kernels, stride, padding)  # type: ignore[arg-type]


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
        # A vector norm with a float32 accumulator reads bfloat16 without a float32 copy.
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
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
