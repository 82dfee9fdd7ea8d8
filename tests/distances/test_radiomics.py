"""Radiomics features against scipy and scikit-image, their Fréchet distance against MONAI's."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import linalg, ndimage, stats
from skimage.feature import graycomatrix, graycoprops

from vae3d.distances.frechet import frechet_distance
from vae3d.distances.radiomics import BINS, FEATURES, REGION, first_order, radiomics, texture
from vae3d.distances.sets import FRECHET_RADIOMICS

Floats = NDArray[np.float64]


def region(*shape: int, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    return np.clip(0.6 * ndimage.gaussian_filter(noise, 1) * 3, -1, 1)


def levels_of(values: Floats) -> NDArray[np.uint8]:
    edges = np.linspace(-1, 1, BINS + 1)[1:-1]
    return np.digitize(values, edges).astype(np.uint8)


@pytest.mark.parametrize("shape", [(20, 31), (9, 10, 11), (1, 30, 30)], ids=str)
def test_first_order_features_are_those_of_scipy(shape: tuple[int, ...]) -> None:
    values = region(*shape)
    shares = np.bincount(levels_of(values).ravel(), minlength=BINS) / values.size
    expected = [
        values.mean(), values.std(), stats.skew(values, None), stats.kurtosis(values, None),
        stats.entropy(shares, base=2),
    ]  # fmt: skip
    assert first_order(values) == pytest.approx(expected, rel=1e-9)


def test_texture_features_are_those_of_scikit_image() -> None:
    values = region(30, 41)
    matrices = graycomatrix(
        levels_of(values), [1], [0, np.pi / 2], BINS, symmetric=True, normed=True
    )
    mean = matrices.mean(axis=3, keepdims=True)
    names = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation")
    expected = [float(graycoprops(mean, name)[0, 0]) for name in names]
    expected.append(float(stats.entropy(mean.ravel(), base=2)))
    assert texture(values) == pytest.approx(expected, rel=1e-9)


def test_an_image_with_one_slice_has_the_texture_of_the_slice() -> None:
    values = region(30, 41)
    assert texture(values[None]) == pytest.approx(texture(values), rel=1e-12)


def test_regions_are_next_to_each_other_and_even_ones_are_left_out() -> None:
    image = np.stack([region(2 * REGION + 5, REGION + 3), region(2 * REGION + 5, REGION + 3)])
    assert radiomics(image.astype(np.float32)).shape == (4, len(FEATURES))
    image[1] = -1
    found = radiomics(image.astype(np.float32))
    assert found.shape == (2, len(FEATURES))
    one = image[0, 2 : 2 + REGION, 1 : 1 + REGION].astype(np.float32).astype(np.float64)
    assert found[0] == pytest.approx([*first_order(one), *texture(one)], rel=1e-9)
    assert radiomics(np.zeros((1, 40, 40), np.float32)).shape == (0, len(FEATURES))
    assert radiomics(region(1, 5, 6, 40).astype(np.float32)).shape == (1, len(FEATURES))


def test_the_frechet_distance_is_its_definition() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0, 1, (60, 7)), generator.normal(0.3, 2, (40, 7))
    second[:, 0] += second[:, 1]
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    difference = first.mean(0) - second.mean(0)
    expected = difference @ difference + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(first, first + 2) == pytest.approx(4 * 7)
    assert frechet_distance(first[:3], second[:3]) > 0, "singular covariances"


# MONAI calls scipy's root of a matrix with an argument that will be removed.
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.extras
def test_the_frechet_distance_is_monais() -> None:
    metrics = pytest.importorskip("monai.metrics")
    generator = np.random.default_rng(1)
    first, second = generator.normal(0, 1, (80, 6)), generator.normal(0.2, 1.5, (80, 6))
    theirs = float(metrics.FIDMetric()(torch.tensor(first), torch.tensor(second)))
    assert frechet_distance(first, second) == pytest.approx(theirs, rel=1e-5)


def test_blur_is_far_and_a_copy_is_near() -> None:
    scans = [torch.from_numpy(region(64, 64, seed=n)).float()[None] for n in range(4)]
    blurred = [torch.from_numpy(ndimage.gaussian_filter(s[0].numpy(), 1))[None] for s in scans]
    generator = torch.Generator()

    def described(images: list[torch.Tensor]) -> list[Floats]:
        return [FRECHET_RADIOMICS.describe(image, generator, len(images)) for image in images]

    own = described(scans)
    copy = FRECHET_RADIOMICS.compare(own, described(scans))
    assert copy == {"mean": pytest.approx(0, abs=1e-3), "regions": 16.0}
    far = FRECHET_RADIOMICS.compare(own, described(blurred))["mean"]
    slightly = described([0.9 * s + 0.1 * b for s, b in zip(scans, blurred, strict=True)])
    assert far > 3 * FRECHET_RADIOMICS.compare(own, slightly)["mean"] > 0.1
    # In deviations of the scans, whatever the units of a feature are.
    assert math.isfinite(far)


def test_too_few_regions_have_no_distance() -> None:
    image = torch.from_numpy(region(20, 20)).float()[None]
    one = [FRECHET_RADIOMICS.describe(image, torch.Generator(), 1)]
    empty = [FRECHET_RADIOMICS.describe(torch.zeros(1, 20, 20), torch.Generator(), 1)]
    assert FRECHET_RADIOMICS.compare(one, one) == {}
    assert FRECHET_RADIOMICS.compare(one, empty) == {}
