"""Self-attention over the voxels of a feature map: all of them, or window by window."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Residual self-attention, x + out(attention(norm(x))), over all voxels or in windows.

    Windows tile the grid from its first voxel. At its end they are smaller instead of padded, so
    that no voxel attends to padding. With `window` None every voxel attends to all (global).
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
        """Map (B, C, *spatial) to the same shape."""
        return x + self.mixed(self.norm(x))

    def mixed(self, normed: Tensor) -> Tensor:
        """Return the summand out(attention(normed)) of normed features (B, C, *spatial)."""
        # Channels last: (B, *spatial, C).
        tokens = normed.movedim(1, -1)
        mixed = torch.empty_like(tokens) if self.window else self._attend(tokens)
        for box in self._boxes(tuple(normed.shape[2:])):
            mixed[box] = self._attend_windows(tokens[box])
        result: Tensor = self.out(mixed).movedim(-1, 1)
        return result

    def _boxes(self, size: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
        """Yield the parts of the grid in which all windows have one size: at most 8 in 3D."""
        if self.window is None:
            return
        parts = []
        for length, side in zip(size, self.window, strict=True):
            edges = [0, length - length % side, length]
            parts.append([slice(a, b) for a, b in itertools.pairwise(edges) if a < b])
        for box in itertools.product(*parts):
            yield (slice(None), *box)

    def _attend_windows(self, tokens: Tensor) -> Tensor:
        """Return attention inside the windows of tokens (B, *spatial, C).

        Each axis is a multiple of the window's side, or shorter than it.
        """
        assert self.window is not None
        batch, *size, channels = tokens.shape
        sides = [min(n, side) for n, side in zip(size, self.window, strict=True)]
        counts = [n // side for n, side in zip(size, sides, strict=True)]
        split = [n for pair in zip(counts, sides, strict=True) for n in pair]
        # The axes inside a window: each after the count of its windows, or all after all counts.
        apart, together = tuple(range(2, 2 * len(size) + 1, 2)), tuple(range(-len(size) - 1, -1))
        windows = tokens.reshape(batch, *split, channels).movedim(apart, together)
        mixed = self._attend(windows.reshape(-1, *sides, channels)).reshape(windows.shape)
        return mixed.movedim(together, apart).reshape(tokens.shape)

    def _attend(self, tokens: Tensor) -> Tensor:
        """Return attention of each token (B, *size, C) to all of its batch entry.

        No table of all pairs of tokens is kept in memory.
        """
        batch, *size, channels = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, -1, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        bias = None if self.bias is None else self.bias(tuple(size)).to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return mixed.transpose(1, 2).reshape(batch, *size, channels)


class RelativeBias(nn.Module):
    """A learned bias for each head and each offset between two voxels of a window."""

    def __init__(self, window: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.window = window
        self.table = nn.Parameter(torch.zeros(heads, *(2 * side - 1 for side in window)))

    def forward(self, size: tuple[int, ...]) -> Tensor:
        """Return the bias (1, heads, N, N) of a window of N = prod(size) voxels.

        `size` is at most `window` along each axis.
        """
        axes = [torch.arange(n, device=self.table.device) for n in size]
        voxels = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        offsets = voxels[:, :, None] - voxels[:, None, :]
        indices = [o + side - 1 for o, side in zip(offsets, self.window, strict=True)]
        index = (slice(None), *indices)
        return self.table[index][None]
