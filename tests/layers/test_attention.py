"""Attention against a table of all pairs, written out."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from vae3d.layers.attention import Attention
from vae3d.model.config import AttentionSpec
from vae3d.runtime.memory import peak_memory


def at(x: Tensor, voxel: tuple[int, ...]) -> Tensor:
    """Return the channels of (C, *spatial) at a voxel."""
    return x[(slice(None), *voxel)]


def offset(
    voxel: tuple[int, ...], mate: tuple[int, ...], window: tuple[int, ...]
) -> tuple[int, ...]:
    """Return the index of the bias of two voxels in the table."""
    return tuple(v % w - m % w + w - 1 for v, m, w in zip(voxel, mate, window, strict=True))


def naive(layer: Attention, x: Tensor) -> Tensor:
    """Return attention voxel by voxel: a softmax over the voxels of its window."""
    batch, channels, *size = x.shape
    tokens = layer.norm(x)
    head = channels // layer.heads
    result = torch.empty_like(x)
    voxels = [*itertools.product(*map(range, size))]
    window = layer.window or tuple(size)
    for b in range(batch):
        for voxel in voxels:
            mates = [
                other
                for other in voxels
                if all(v // w == o // w for v, o, w in zip(voxel, other, window, strict=True))
            ]
            rows = torch.stack([layer.qkv(at(tokens[b], mate)) for mate in mates])
            query = layer.qkv(at(tokens[b], voxel))[:channels]
            parts = []
            for h in range(layer.heads):
                own = slice(h * head, (h + 1) * head)
                keys, values = rows[:, channels:][:, own], rows[:, 2 * channels :][:, own]
                score = keys @ query[own] / head**0.5
                if layer.bias is not None:
                    offsets = [
                        at(layer.bias.table[h : h + 1], offset(voxel, mate, window))[0]
                        for mate in mates
                    ]
                    score = score + torch.stack(offsets)
                parts.append(score.softmax(0) @ values)
            at(result[b], voxel)[...] = at(x[b], voxel) + layer.out(torch.cat(parts))
    return result


def build(channels: int, window: tuple[int, ...] | None, bias: bool = True) -> Attention:
    torch.manual_seed(0)
    layer = Attention(channels, nn.GroupNorm(2, channels), 2, window, bias).double()
    if layer.bias is not None:
        nn.init.normal_(layer.bias.table)
    return layer


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((3, 4), None),
        ((4, 4), (2, 2)),
        ((5, 3), (2, 4)),
        ((3, 2, 5), (2, 2, 2)),
        ((2, 3, 4), (1, 8, 3)),
        ((1, 1, 1), (4, 4, 4)),
    ],
    ids=str,
)
def test_it_is_the_table_of_pairs(size: tuple[int, ...], window: tuple[int, ...] | None) -> None:
    layer = build(4, window)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), naive(layer, x))


def test_the_table_has_a_number_for_each_offset() -> None:
    """From one end of a window to the other, and nothing that no two voxels use."""
    layer = build(4, (2, 3))
    assert layer.bias is not None
    assert layer.bias.table.shape == (2, 3, 5)
    layer(torch.randn(1, 4, 4, 6, dtype=torch.float64)).square().sum().backward()
    assert layer.bias.table.grad is not None
    assert (layer.bias.table.grad != 0).all()


@pytest.mark.parametrize("size", [(4, 5), (2, 3, 4)], ids=str)
def test_a_window_as_large_as_the_image_is_global(size: tuple[int, ...]) -> None:
    windowed, whole = build(4, size, bias=False), build(4, None)
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(windowed(x), whole(x))


def test_gradients() -> None:
    layer = build(4, (2, 2))
    x = torch.randn(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


def test_no_window_sees_another() -> None:
    layer = build(4, (2, 3), bias=True)
    layer.norm = nn.Identity()
    x = torch.randn(1, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, :, 4, 6].sum(), x)
    visible = gradient.abs().sum(dim=(0, 1)) > 0
    assert visible.nonzero().tolist() == [[4, 6]]


@pytest.mark.parametrize("window", [None, (8, 8, 8)], ids=str)
def test_attention_trains_without_a_table_of_all_pairs(window: tuple[int, ...] | None) -> None:
    # A table of the pairs of 24^3 tokens takes 729 MiB, its gradient as much again.
    layer = Attention(8, nn.Identity(), 1, window, relative_bias=window is not None)
    x = torch.randn(1, 8, 24, 24, 24, requires_grad=True)
    taken = peak_memory(lambda: layer(x).sum().backward(), torch.device("cpu"))
    if taken is None:
        pytest.skip("this system does not report the peak memory")
    assert taken < 200 * 2**20


@pytest.mark.parametrize(
    ("channels", "head", "expected"), [(64, 32, 2), (16, 32, 1), (8, None, 1)]
)
def test_heads(channels: int, head: int | None, expected: int) -> None:
    assert AttentionSpec(head_channels=head).heads(channels) == expected
