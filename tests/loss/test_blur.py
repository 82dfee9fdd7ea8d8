"""The blur by oneDNN and matrix products is the sum of shifted views."""

import pytest
import torch

from vae3d.loss import blur
from vae3d.loss.blur import gaussian_window, shifted_sum, smooth, weighted_sum

SHAPES = [
    (1, 1, 42, 30, 77), (2, 3, 13, 40, 27), (2, 1, 64, 70), (1, 1, 5, 24, 12), (1, 2, 3, 1, 2),
    (1, 1, 1, 1, 90), (1, 1, 20, 1), (2, 1, 21, 128, 130),
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cut", [0, 3])
def test_every_implementation_computes_the_same(shape: tuple[int, ...], cut: int) -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(*(n + cut for n in shape), generator=generator) * 2 - 1
    image = image[tuple(slice(n) for n in shape)]
    for axis in range(2, image.dim()):
        window = tuple(gaussian_window(image.shape[axis]).tolist())
        result = weighted_sum(image, axis, window)
        assert result.is_contiguous()
        expected = shifted_sum(image.double(), axis, window).float()
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-6)


def test_autocast_does_not_blur_in_bfloat16() -> None:
    image = torch.rand(1, 1, 16, 20, 18)
    with torch.autocast("cpu", torch.bfloat16):
        result = smooth(image)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, smooth(image), rtol=1e-6, atol=1e-6)


def test_the_gradient_does_not_depend_on_the_implementation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = torch.rand(2, 1, 14, 13, 40)
    gradients = []
    for implementation in (weighted_sum, shifted_sum):
        monkeypatch.setattr(blur, "weighted_sum", implementation)
        leaf = image.clone().requires_grad_()
        smooth(leaf).square().sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)
