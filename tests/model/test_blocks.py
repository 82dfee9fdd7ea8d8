"""Residual blocks, downsampling and upsampling against plain torch, scipy and loops."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from tests.conftest import assert_same_output, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.layers.recomputation import RECOMPUTATIONS
from vae3d.model.blocks import ResidualBlock, downsample, upsample
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.gaussian import DiagonalGaussian

FACTORS = [(2, 2), (1, 3), (2, 2, 2), (1, 2, 3)]


def style(dims: int = 3, **changes: Any) -> VAEConfig:
    return VAEConfig(spatial_dims=dims, **{"zero_init": False, "smooth_init": False, **changes})


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def convolved(layer: Any, x: Tensor) -> Tensor:
    """A convolution of 3 that keeps the size, as scipy correlates, channel by channel."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    result = np.zeros((x.shape[0], len(weight), *x.shape[2:]))
    for b, o, i in itertools.product(*map(range, (x.shape[0], len(weight), x.shape[1]))):
        result[b, o] += ndimage.correlate(x[b, i].numpy(), weight[o, i], mode="constant")
    return torch.from_numpy(result + bias.reshape(-1, *(1,) * (x.dim() - 2)))


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (4, 6)])
@pytest.mark.parametrize("scale", [1.0, 0.7071])
def test_a_residual_block_is_its_formula(inputs: int, outputs: int, scale: float) -> None:
    torch.manual_seed(0)
    block = ResidualBlock(inputs, outputs, style(residual_scale=scale)).double()
    x = image(2, inputs, 3, 4, 5)
    hidden = convolved(block.conv1, F.silu(block.norm1(x)).detach())
    hidden = convolved(block.conv2, F.silu(block.norm2(hidden)).detach())
    torch.testing.assert_close(block(x), scale * (block.skip(x) + hidden))


def test_a_block_with_zero_init_is_its_skip_connection() -> None:
    block = ResidualBlock(4, 4, style(zero_init=True)).double()
    nn.init.zeros_(block.conv2.bias)  # type: ignore[arg-type]
    x = image(1, 4, 3, 3, 3)
    assert torch.equal(block(x), x)


def test_gradients_of_a_block() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(2, 4, style(2)).double()
    assert torch.autograd.gradcheck(block, image(1, 2, 3, 4).requires_grad_())


def test_recomputed_blocks_have_the_same_gradients() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(4, 4, style(dropout=0.3)).double()
    x = image(1, 4, 3, 3, 3).requires_grad_()
    gradients = []
    for block.recomputes in RECOMPUTATIONS:
        torch.manual_seed(3)
        gradients.append(torch.autograd.grad(block(x).square().sum(), [x, *block.parameters()]))
    for stored, *others in zip(*gradients, strict=True):
        assert all(torch.equal(stored, recomputed) for recomputed in others)


@pytest.mark.parametrize("rate", [0.25, 0.6])
def test_dropout_drops_its_share_while_training(rate: float) -> None:
    block = ResidualBlock(4, 4, style(dropout=rate)).train()
    outputs: list[Tensor] = []
    block.dropout.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    for block.training in (True, False):
        block.train(block.training)
        block(torch.randn(1, 4, 16, 16, 16))
    training, evaluating = ((x == 0).float().mean().item() for x in outputs)
    assert abs(training - rate) < 0.02
    assert evaluating == 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_of_a_case_does_not_depend_on_its_batch(checkpointing: bool) -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(dropout=0.3, checkpointing=checkpointing)).train()
    images = torch.rand(3, 1, 8, 8, 8) * 2 - 1
    together = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    alone = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    batch = model(images, together).reconstruction
    # All forward passes before any backward pass: recomputation must drop the same values.
    singles = [model(images[n : n + 1], [alone[n]]).reconstruction for n in range(3)]
    assert_same_output(torch.cat(singles), batch, model)
    assert not torch.allclose(batch[0], model(images[:1], together[1:2]).reconstruction[0])
    expected = torch.autograd.grad(batch.square().sum(), [*model.parameters()])
    gradients = torch.autograd.grad(torch.cat(singles).square().sum(), [*model.parameters()])
    # A gradient is a sum over 3 images of 8^3 voxels, added in another order.
    within = 3 * 8**3 * torch.finfo(torch.float32).eps
    for one, other in zip(expected, gradients, strict=True):
        atol = within * max(1.0, float(one.abs().max()))
        torch.testing.assert_close(other, one, rtol=0, atol=atol)


@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_interpolated_upsampling_equals_scipy(factor: tuple[int, ...]) -> None:
    dims = len(factor)
    size = (4, 3, 5)[:dims]
    for mode, order in (("nearest", 0), ("linear", 1)):
        layer: Any = upsample(2, 3, factor, style(dims), mode).double()
        x = image(1, 2, *size)
        fine = [
            ndimage.zoom(channel, factor, order=order, grid_mode=True, mode="nearest")
            for channel in x[0].numpy()
        ]
        expected = convolved(layer.conv, torch.from_numpy(np.stack(fine))[None])
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_transposed_upsampling_writes_each_voxel_into_its_block(factor: tuple[int, ...]) -> None:
    dims = len(factor)
    layer: Any = upsample(2, 3, factor, style(dims), "transposed").double()
    x = image(1, 2, *(3, 2, 2)[:dims])
    output = layer(x)
    for voxel in itertools.product(*map(range, x.shape[2:])):
        box = tuple(slice(v * f, v * f + f) for v, f in zip(voxel, factor, strict=True))
        block = torch.einsum("i,io...->o...", x[(0, slice(None), *voxel)], layer.weight)
        expected = block + layer.bias.reshape(-1, *(1,) * dims)
        torch.testing.assert_close(output[(0, slice(None), *box)], expected)


@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_pixel_shuffle_upsampling_turns_channels_into_space(factor: tuple[int, ...]) -> None:
    dims = len(factor)
    layer: Any = upsample(2, 3, factor, style(dims), "pixel_shuffle").double()
    x = image(1, 2, *(3, 4, 2)[:dims])
    output, channels = layer(x), convolved(layer.conv, x)
    for voxel in itertools.product(*map(range, output.shape[2:])):
        coarse = [p // f for p, f in zip(voxel, factor, strict=True)]
        offset = 0
        for p, f in zip(voxel, factor, strict=True):
            offset = offset * f + p % f
        for channel in range(3):
            expected = channels[(0, channel * int(np.prod(factor)) + offset, *coarse)]
            torch.testing.assert_close(output[(0, channel, *voxel)], expected)


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (2, 1, 2), (3, 3, 2)], ids=str)
def test_downsampling_is_every_nth_voxel_of_a_convolution(stride: tuple[int, ...]) -> None:
    layer: Any = downsample(2, 3, stride, style(len(stride))).double()
    x = image(1, 2, *(6, 9, 12)[: len(stride)])
    x = x[(..., *(slice(n - n % s) for n, s in zip(x.shape[2:], stride, strict=True)))]
    every = (slice(None), slice(None), *(slice(None, None, s) for s in stride))
    torch.testing.assert_close(layer(x), convolved(layer, x)[every])


@pytest.mark.parametrize("upsampling", ["transposed", "pixel_shuffle"])
@pytest.mark.parametrize("factor", FACTORS, ids=str)
def test_learned_upsampling_starts_as_nearest_interpolation(
    upsampling: str, factor: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer = upsample(2, 3, factor, style(len(factor), smooth_init=True), upsampling)
    output = layer(torch.randn(1, 2, *(3, 4, 2)[: len(factor)]))
    every = (slice(None), slice(None), *(slice(None, None, f) for f in factor))
    coarse = output[every]
    for axis, times in enumerate(factor, start=2):
        coarse = coarse.repeat_interleave(times, dim=axis)
    torch.testing.assert_close(output, coarse)


def test_a_folded_image_starts_as_nearest_interpolation() -> None:
    torch.manual_seed(0)
    model = CustomVAE(VAEConfig(levels=[LevelSpec(4)], patch=(1, 2, 3)))
    output = model.decode(torch.randn(1, 4, 3, 3, 3))
    torch.testing.assert_close(output[..., ::2, :], output[..., 1::2, :])
    torch.testing.assert_close(output[..., ::3], output[..., 2::3])


def test_an_unchanged_resolution_and_width_is_an_identity() -> None:
    assert isinstance(downsample(4, 4, (1, 1, 1), style()), nn.Identity)
    assert isinstance(upsample(4, 4, (1, 1, 1), style(), "linear"), nn.Identity)


def test_gradients_reach_mean_and_variance() -> None:
    def drawn(mean: Tensor, logvar: Tensor) -> tuple[Tensor, Tensor]:
        posterior = DiagonalGaussian(mean, logvar)
        return posterior.sample(torch.Generator().manual_seed(0)), posterior.kl()

    inputs = (image(1, 2, 3, 2).requires_grad_(), image(1, 2, 2, 3).mT.clone().requires_grad_())
    assert torch.autograd.gradcheck(drawn, inputs)
