"""Self-attention over the voxels of a feature map: all of them, or window by window."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
