"""Each loss against its formula written out, or against a library."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.loss.config import LOSSES
from vae3d.loss.structural import SCALE_WEIGHTS, ms_ssim

SHAPES = [(2, 1, 12, 15), (2, 2, 9, 7, 12)]


def pair(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (image + 0.2 * noise).clamp(-1, 1), image


def each(values: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(values, torch.tensor(expected, dtype=values.dtype))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_robust_terms(shape: tuple[int, ...]) -> None:
    a, b = pair(shape)
    error = (a - b).numpy()
    assert (np.abs(error) < 0.1).any()
    assert (np.abs(error) > 0.1).any()
    huber = np.where(np.abs(error) < 0.1, error**2 / 0.2, np.abs(error) - 0.05)
    each(LOSSES["huber"](a, b), [float(case.mean()) for case in huber])
    each(LOSSES["charbonnier"](a, b), [float(np.sqrt(case**2 + 1e-6).mean()) for case in error])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient(shape: tuple[int, ...]) -> None:
    a, b = pair(shape)
    error = (a - b).numpy()
    expected = [
        float(np.mean([np.abs(np.diff(case, axis=axis)).mean() for axis in range(1, case.ndim)]))
        for case in error
    ]
    each(LOSSES["gradient"](a, b), expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_focal_frequency(shape: tuple[int, ...]) -> None:
    a, b = pair(shape)
    expected = []
    for case in (a - b).numpy():
        spectra = [np.abs(np.fft.fftn(channel, norm="ortho")) for channel in case]
        expected.append(float(np.mean([s / s.max() * s**2 for s in spectra])))
    each(LOSSES["focal_frequency"](a, b), expected)


def eagle_in_2d(a: Tensor, b: Tensor) -> list[float]:
    """The paper's own steps with its 3 x 3 filters, for one image at a time."""
    kernel = torch.tensor([[-3.0, 0, 3], [-10, 0, 10], [-3, 0, 3]], dtype=a.dtype) / 16
    losses = []
    for first, second in zip(a, b, strict=True):
        total = 0.0
        for weight in (kernel, kernel.T):
            magnitudes = []
            for image in (first, second):
                padded = F.pad(image[None], (1, 1, 1, 1), mode="replicate")
                edges = F.conv2d(padded, weight[None, None])[0, 0].numpy()
                rows, columns = edges.shape[0] // 3, edges.shape[1] // 3
                cells = edges[: 3 * rows, : 3 * columns].reshape(rows, 3, columns, 3)
                variance = cells.transpose(0, 2, 1, 3).reshape(rows, columns, 9).var(-1, ddof=1)
                spectrum = np.abs(np.fft.fft2(variance))
                u, v = np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij")
                magnitudes.append(spectrum * np.exp(-0.5 * (np.hypot(u, v) - 0.5) ** 2))
            total += float(np.abs(magnitudes[0] - magnitudes[1]).mean())
        losses.append(total)
    return losses


@pytest.mark.parametrize("size", [(13, 17), (12, 18)], ids=str)
def test_eagle(size: tuple[int, ...]) -> None:
    """Cells of 3 voxels leave out the end of 13 and 17; those of 12 and 18 reach the border."""
    a, b = pair((2, 1, *size))
    values = LOSSES["eagle"](a, b)
    torch.testing.assert_close(
        values, torch.tensor(eagle_in_2d(a, b)).to(values), rtol=1e-4, atol=0
    )


def test_eagle_of_one_slice_is_that_of_the_image() -> None:
    a, b = pair((2, 1, 12, 15))
    flat, deep = LOSSES["eagle"](a, b), LOSSES["eagle"](a[:, :, None], b[:, :, None])
    # Across the slices nothing differs, so that their axis adds a spectrum of zeros.
    torch.testing.assert_close(flat, deep, rtol=1e-4, atol=1e-6)


@pytest.mark.extras
@pytest.mark.parametrize("shape", [(1, 1, 192, 180), (1, 1, 24, 48, 30)], ids=str)
def test_ms_ssim_is_the_libraries(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("monai.metrics.regression")
    a, b = (x.float() for x in pair(shape))
    scales = 1
    while scales < 5 and min(shape[2:]) // 2**scales >= 11:
        scales += 1
    weights = np.array(SCALE_WEIGHTS[:scales])
    theirs = metrics.MultiScaleSSIMMetric(
        spatial_dims=len(shape) - 2,
        data_range=2.0,
        weights=tuple(weights / weights.sum()),
        kernel_size=11,
        kernel_sigma=1.5,
    )
    torch.testing.assert_close(ms_ssim(a, b, 2.0), theirs(a, b)[:, 0], rtol=0, atol=2e-4)


def test_ms_ssim_of_opposites_is_almost_zero_and_has_a_gradient() -> None:
    """Contrast and structure of an image and its negative are below zero at every scale."""
    image = pair((2, 1, 24, 26))[1]
    opposite = (-image).requires_grad_()
    values = ms_ssim(opposite, image, 2.0, low=-1)
    torch.testing.assert_close(values, torch.full_like(values, 1e-6), rtol=1e-9, atol=0)
    (gradient,) = torch.autograd.grad(values.sum(), opposite)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "focal_frequency"])
@pytest.mark.parametrize("shape", [(1, 1, 6, 7), (1, 1, 3, 4, 6)], ids=str)
def test_gradients(name: str, shape: tuple[int, ...]) -> None:
    a, b = pair(shape)
    a = (a * 0.9).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, b), a, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weight_of_focal_frequency_has_no_gradient(shape: tuple[int, ...]) -> None:
    a, b = pair(shape)
    (gradient,) = torch.autograd.grad(LOSSES["focal_frequency"](a.requires_grad_(), b).sum(), a)
    axes = tuple(range(2, len(shape)))
    spectrum = np.fft.fftn((a - b).detach().numpy(), axes=axes, norm="ortho")
    weight = np.abs(spectrum) / np.abs(spectrum).max(axis=axes, keepdims=True)
    # Of the mean of weight * |spectrum|^2 with the weight held, by Parseval.
    expected = 2 * np.fft.ifftn(weight * spectrum, axes=axes, norm="ortho").real
    torch.testing.assert_close(gradient, torch.from_numpy(expected / a[0].numel()))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1, 9, 9), (1, 1, 1, 1)], ids=str)
def test_each_case_on_its_own_and_none_for_equals(name: str, shape: tuple[int, ...]) -> None:
    a, b = (x.float() for x in pair(shape))
    together = LOSSES[name](a, b)
    assert together.shape == shape[:1]
    alone = torch.cat([LOSSES[name](x[None], y[None]) for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-7)
    limit = 1.1e-3 if name == "charbonnier" else 1e-5
    assert (LOSSES[name](b, b).abs() <= limit).all()
    assert together.isfinite().all()
