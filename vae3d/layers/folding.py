"""Blocks of voxels as channels, and back."""

import math

from torch import Tensor


def pixel_shuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Rearrange (B, C * prod(factor), *spatial) into (B, C, *(spatial * factor)).

    The order of the channels is that of `torch.nn.PixelShuffle`.
    """
    if max(factor) == 1:
        return x
    before_space, within_space = _factor_axes(len(factor))
    batch, channels, *spatial = x.shape
    blocks = x.reshape(batch, channels // math.prod(factor), *factor, *spatial)
    size = [s * f for s, f in zip(spatial, factor, strict=True)]
    return blocks.movedim(before_space, within_space).reshape(batch, -1, *size)


def pixel_unshuffle(x: Tensor, factor: tuple[int, ...]) -> Tensor:
    """Rearrange (B, C, *(spatial * factor)) into (B, C * prod(factor), *spatial).

    The inverse of `pixel_shuffle`.
    """
    if max(factor) == 1:
        return x
    before_space, within_space = _factor_axes(len(factor))
    blocks = [n for s, f in zip(x.shape[2:], factor, strict=True) for n in (s // f, f)]
    x = x.reshape(*x.shape[:2], *blocks).movedim(within_space, before_space)
    return x.flatten(1, len(factor) + 1)


def _factor_axes(dims: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of the factors in front of the spatial axes, and each after its own."""
    return tuple(range(2, 2 + dims)), tuple(range(3, 3 + 2 * dims, 2))
