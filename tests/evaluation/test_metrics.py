"""Structural similarity against scikit-image, and its gradients."""

import pytest
import torch
from skimage.metrics import structural_similarity

from vae3d.loss.blur import smooth
from vae3d.loss.config import LOSSES
from vae3d.loss.structural import ssim


def pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(*shape, generator=generator) * 2 - 1
    other = image + 0.3 * torch.randn(*shape, generator=generator)
    return image, other.clamp(-1, 1)


@pytest.mark.parametrize("shape", [(40, 33), (16, 20, 18)])
def test_ssim_is_scikit_image(shape: tuple[int, ...]) -> None:
    image, other = pair(1, 1, *shape)
    expected = structural_similarity(
        image[0, 0].double().numpy(),
        other[0, 0].double().numpy(),
        data_range=2.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(image, other, 2.0).item() == pytest.approx(expected, abs=1e-5)
    assert LOSSES["ssim"](other - 1, image - 1).item() == pytest.approx(1 - expected, abs=1e-5)


def test_ssim_of_thin_volumes_and_of_the_same_image() -> None:
    for shape in ((1, 24, 24), (4, 7, 1), (1, 1, 1)):
        image, other = pair(2, 1, *shape)
        torch.testing.assert_close(ssim(image, image, 2.0), torch.ones(2))
        assert (ssim(image, other, 2.0) <= 1).all()


@pytest.mark.parametrize("shape", [(14, 13), (12, 13, 11)], ids=str)
def test_the_gradient_of_the_blur_is_its_own(shape: tuple[int, ...]) -> None:
    image = torch.rand(1, 1, *shape, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(smooth, image)
