"""Norms, activations and dropout for 2D and 3D."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.layers.recomputation import is_recomputing
from vae3d.runtime.seeding import derive_seed


class LayerNorm(nn.Module):
    """Normalise each voxel's channel vector to mean 0 and variance 1: pointwise in space.

    Ba et al. 2016 (arXiv:1607.06450), over the channels of one voxel.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to the same shape and type."""
        moved = x.movedim(1, -1)
        normed = F.layer_norm(moved, moved.shape[-1:], self.weight, self.bias, self.eps)
        return normed.to(x.dtype).movedim(-1, 1)


class RMSNorm(nn.Module):
    """Scale each voxel's channel vector to unit root mean square: pointwise in space.

    Nothing is averaged over the image, so that a patch is normalised as in the whole image
    (Zhang and Sennrich 2019, arXiv:1910.07467, equation 4).
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *spatial) to the same shape and type."""
        # A vector norm with a wider accumulator reads bfloat16 without a float32 copy.
        dtype = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=dtype)
        scale = torch.rsqrt(norm.square() / x.shape[1] + self.eps)
        weight = self.weight.to(x.dtype).reshape(-1, *(1,) * (x.dim() - 2))
        result: Tensor = x * scale.to(x.dtype) * weight
        return result


class SampleDropout(nn.Module):
    """Dropout whose mask depends on the sample alone, not on its batch, rank or worker.

    `seeds` holds one number per sample of the next batch; without them torch's global generator
    draws the masks. `number` makes the layers of a network differ. Masks are drawn on x's device.
    """

    def __init__(self, rate: float, number: int = 0) -> None:
        super().__init__()
        self.rate = rate
        self.number = number
        self.seeds: list[int] | None = None

    def forward(self, x: Tensor, seeds: list[int] | None) -> Tensor:
        """Return x (B, C, *spatial) with a share `rate` of its values at 0, the others scaled."""
        if not self.training or not self.rate:
            return x
        if seeds is None:
            return F.dropout(x, self.rate)
        masks = torch.empty_like(x)
        for mask, seed in zip(masks, seeds, strict=True):
            number = derive_seed(seed, "dropout", self.number)
            generator = torch.Generator(x.device).manual_seed(number)
            mask.bernoulli_(1 - self.rate, generator=generator)
        return x * masks.div_(1 - self.rate)


class BatchNorm2d(nn.BatchNorm2d):
    """A batch norm whose running statistics do not count a batch twice that is recomputed."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        again = self.training and is_recomputing()
        return _without_update(self, input) if again else super().forward(input)


class BatchNorm3d(nn.BatchNorm3d):
    """A batch norm whose running statistics do not count a batch twice that is recomputed."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, D, H, W) to the same shape."""
        again = self.training and is_recomputing()
        return _without_update(self, input) if again else super().forward(input)


def _without_update(norm: Any, x: Tensor) -> Tensor:
    """Return what a batch norm returns in training; its running statistics stay as they are."""
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()
    return F.batch_norm(x, mean, variance, norm.weight, norm.bias, training=True, eps=norm.eps)


BATCH_NORMS: dict[int, type[BatchNorm2d] | type[BatchNorm3d]] = {2: BatchNorm2d, 3: BatchNorm3d}


def rms_norm(dims: int, channels: int, groups: int) -> nn.Module:
    """Return a root mean square norm over the channels of a voxel."""
    return RMSNorm(channels)


def layer_norm(dims: int, channels: int, groups: int) -> nn.Module:
    """Return a layer norm over the channels of a voxel."""
    return LayerNorm(channels)


def group_norm(dims: int, channels: int, groups: int) -> nn.Module:
    """Return a group norm over space and the channels of a group."""
    return nn.GroupNorm(groups, channels, eps=1e-6)


def instance_norm(dims: int, channels: int, groups: int) -> nn.Module:
    """Return an instance norm over the space of each channel, with learned scale and shift."""
    return nn.GroupNorm(channels, channels)


def batch_norm(dims: int, channels: int, groups: int) -> nn.Module:
    """Return a batch norm over batch and space of each channel."""
    return BATCH_NORMS[dims](channels)


def leaky_relu() -> nn.Module:
    """Return a leaky ReLU with slope 0.2, usual in image networks."""
    return nn.LeakyReLU(0.2)
