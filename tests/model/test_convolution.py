"""Layers against plain torch."""

import pytest
import torch
from torch.nn.functional import conv3d
from torch.profiler import ProfilerActivity, profile

from tests.conftest import assert_same_output
from vae3d.model.convolution import SafeConv3d


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (2, 9, 9)], ids=str)
def test_bf16_gradients_of_tiny_images_are_float32s(size: tuple[int, ...]) -> None:
    """Where the CPU has bfloat16 kernels, those of torch 2.13 fail this at 2 x 2 x 2."""
    torch.manual_seed(0)
    convolution = SafeConv3d(32, 32, 3, padding=1)
    weight, bias = convolution.weight, convolution.bias
    image = torch.randn(2, 32, *size, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = convolution(image)
    (found,) = torch.autograd.grad(output.float().square().mean(), weight)
    reference = conv3d(image, weight, bias, padding=1)
    (expected,) = torch.autograd.grad(reference.square().mean(), weight)
    tolerance = 0.02 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0.02, atol=tolerance)


@pytest.mark.parametrize("size", [(8, 8, 8), (3, 20, 9)], ids=str)
def test_one_float32_image_keeps_out_of_the_slow_kernel(size: tuple[int, ...]) -> None:
    convolution = SafeConv3d(4, 6, 3, padding=1)
    image = torch.randn(1, 4, *size, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        output = convolution(image)
    assert not [event.key for event in recorded.key_averages() if "slow_conv" in event.key]
    plain = conv3d(image, convolution.weight, convolution.bias, padding=1)
    assert_same_output(output, plain, convolution)
    weights = torch.randn_like(plain)
    inputs = (image, convolution.weight)
    for found, expected in zip(
        torch.autograd.grad((output * weights).sum(), inputs),
        torch.autograd.grad((plain * weights).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
