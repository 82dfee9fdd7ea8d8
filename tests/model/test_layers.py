"""Layers against plain torch."""

import pytest
import torch

from vae3d.model.layers import SafeConv3d


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (2, 9, 9)], ids=str)
def test_bf16_gradients_of_tiny_images_are_float32s(size: tuple[int, ...]) -> None:
    convolution = SafeConv3d(8, 8, 3, padding=1)
    for draw in range(20):
        generator = torch.Generator().manual_seed(draw)
        image = torch.randn(1, 8, *size, generator=generator)
        reference = torch.nn.functional.conv3d(
            image, convolution.weight, convolution.bias, padding=1
        )
        (expected,) = torch.autograd.grad(reference.square().sum(), convolution.weight)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = convolution(image.bfloat16().float())
        (found,) = torch.autograd.grad(output.float().square().sum(), convolution.weight)
        torch.testing.assert_close(
            found, expected, rtol=0.05, atol=0.05 * float(expected.abs().max())
        )
