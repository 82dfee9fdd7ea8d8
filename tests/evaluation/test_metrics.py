"""Metrics against scikit-image and by hand."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vae3d.evaluation.metrics import METRICS
from vae3d.loss.objective import LOSSES
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
    assert LOSSES["ssim"](other, image).item() == pytest.approx(1 - expected, abs=1e-5)


def test_ssim_of_thin_volumes_and_of_the_same_image() -> None:
    for shape in ((1, 24, 24), (4, 7, 1), (1, 1, 1)):
        image, other = pair(2, 1, *shape)
        torch.testing.assert_close(ssim(image, image, 2.0), torch.ones(2))
        assert (ssim(image, other, 2.0) <= 1).all()


def test_errors_are_in_the_scans_units() -> None:
    image, other = pair(1, 8, 9, 10)
    span = 2000.0
    in_hu, other_hu = (x.double().numpy() * span / 2 for x in (image, other))
    assert METRICS["mae"](image, other, span) == pytest.approx(np.abs(in_hu - other_hu).mean())
    assert METRICS["mse"](image, other, span) == pytest.approx(((in_hu - other_hu) ** 2).mean())
    expected = peak_signal_noise_ratio(in_hu, other_hu, data_range=span)
    assert METRICS["psnr"](image, other, span) == pytest.approx(expected)
    assert METRICS["psnr"](image, image, span) == math.inf
