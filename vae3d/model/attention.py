"""Self-attention over the voxels of a feature map: all of them, or window by window."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.errors import ConfigError

ATTENTIONS = ("none", "global", "windowed")


@dataclass
class AttentionSpec:
    """How attention looks wherever a level, or the bottleneck, has it.

    `bottleneck` is none, global or windowed: a block between two residual blocks at the deepest
    level, in encoder and decoder. `window` is the side of a window in voxels of the feature map,
    per axis or one number for all. `head_channels` are the channels of a head; null is one head.
    `relative_bias` adds a learned bias for each offset inside a window (Liu et al. 2021,
    arXiv:2103.14030, equation 4); global attention has none, since it would need memory for every
    pair of voxels.
    """

    bottleneck: str = "none"
    window: tuple[int, ...] = (8,)
    head_channels: int | None = 32
    relative_bias: bool = True

    def __post_init__(self) -> None:
        if self.bottleneck not in ATTENTIONS:
            raise ConfigError(
                f"model.attention.bottleneck must be one of {', '.join(ATTENTIONS)}, "
                f"got {self.bottleneck!r}"
            )
        if not self.window or any(not 1 <= side <= 64 for side in self.window):
            raise ConfigError(
                f"model.attention.window must lie in [1, 64] along each axis, got {[*self.window]}"
            )
        if self.head_channels is not None and self.head_channels < 1:
            raise ConfigError(
                f"model.attention.head_channels must be at least 1 or null, "
                f"got {self.head_channels}"
            )

    def check(self, spatial_dims: int) -> None:
        """Raises a ConfigError where the window does not fit images of this many axes."""
        if len(self.window) not in (1, spatial_dims):
            raise ConfigError(
                f"model.attention.window needs 1 or {spatial_dims} numbers, got {[*self.window]}"
            )

    def windows(self, spatial_dims: int) -> tuple[int, ...]:
        """The window of each axis."""
        window = tuple(self.window)
        return window * spatial_dims if len(window) == 1 else window

    def heads(self, channels: int, key: str = "model.attention") -> int:
        """The number of heads for this many channels.

        Raises:
            ConfigError: they do not divide.
        """
        size = self.head_channels or channels
        # A level narrower than a head has one head.
        if channels % min(size, channels):
            raise ConfigError(
                f"{key}.head_channels must divide the level's channels ({channels}), got {size}"
            )
        return channels // min(size, channels)


class Attention(nn.Module):
    """x + out(attention(norm(x))), where each voxel attends to all, or to those of its window.

    Windows tile the grid from its first voxel. At its end they are smaller: no voxel is padded,
    so that none can be attended to. `window` None is global.
    """

    def __init__(
        self,
        channels: int,
        norm: nn.Module,
        heads: int,
        window: tuple[int, ...] | None,
        relative_bias: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.norm = norm
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.bias = RelativeBias(window, heads) if window and relative_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) to the same shape."""
        return x + self.mixed(self.norm(x))

    def mixed(self, normed: Tensor) -> Tensor:
        """(B, C, *spatial), normed, to what is added: out(attention(normed)), the same shape."""
        # Channels last: (B, *spatial, C).
        tokens = normed.movedim(1, -1)
        mixed = torch.empty_like(tokens) if self.window else self._attend(tokens)
        for box in self._boxes(tuple(normed.shape[2:])):
            mixed[box] = self._attend_windows(tokens[box])
        result: Tensor = self.out(mixed).movedim(-1, 1)
        return result

    def _boxes(self, size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        """The parts of the grid in which all windows are of one size: eight at most in 3D."""
        if self.window is None:
            return
        parts = []
        for length, side in zip(size, self.window, strict=True):
            whole = length - length % side
            edges = [0, whole, length]
            parts.append([slice(a, b) for a, b in itertools.pairwise(edges) if a < b])
        for box in itertools.product(*parts):
            yield (slice(None), *box)

    def _attend_windows(self, tokens: Tensor) -> Tensor:
        """(B, *spatial, C), each axis a multiple of its window or less than one."""
        assert self.window is not None
        batch, *size, channels = tokens.shape
        sides = [min(n, side) for n, side in zip(size, self.window, strict=True)]
        counts = [n // side for n, side in zip(size, sides, strict=True)]
        dims = len(size)
        split = [n for pair in zip(counts, sides, strict=True) for n in pair]
        places = [1 + 2 * d for d in range(dims)]
        inner = [2 + 2 * d for d in range(dims)]
        windows = tokens.reshape(batch, *split, channels)
        windows = windows.permute(0, *places, *inner, 1 + 2 * dims)
        mixed = self._attend(windows.reshape(-1, *sides, channels))
        mixed = mixed.reshape(batch, *counts, *sides, channels)
        order = [axis for d in range(dims) for axis in (1 + d, 1 + dims + d)]
        return mixed.permute(0, *order, 1 + 2 * dims).reshape(tokens.shape)

    def _attend(self, tokens: Tensor) -> Tensor:
        """(B, *size, C): every token to all of its batch entry, without a table of all pairs."""
        batch, *size, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, -1, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        bias = None if self.bias is None else self.bias(tuple(size)).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return mixed.transpose(1, 2).reshape(batch, *size, channels)


class RelativeBias(nn.Module):
    """A learned number for each head and each offset between two voxels of a window."""

    def __init__(self, window: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.zeros(heads, *(2 * side - 1 for side in window)))

    def forward(self, size: tuple[int, ...]) -> Tensor:
        """The bias (1, heads, N, N) of a window of N = prod(size) voxels, at most as large."""
        axes = [torch.arange(n, device=self.table.device) for n in size]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        offsets = voxels[:, :, None] - voxels[:, None, :]
        places = [o + side - 1 for o, side in zip(offsets, self.window, strict=True)]
        index = (slice(None), *places)
        return self.table[index][None]
