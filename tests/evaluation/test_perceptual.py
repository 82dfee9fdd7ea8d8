"""Scores in features of a network, against their formulas and MONAI's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.features.distance import feature_distance
from vae3d.features.extractor import FeatureExtractor
from vae3d.features.opening import open_extractor
from vae3d.scoring.perceptual import (
    FeatureMoments,
    feature_moments,
    frechet_distance,
    perceptual_distance,
)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> FeatureExtractor:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("features") / "2d"
    CustomVAE(tiny_model(2, zero_init=False)).save_pretrained(folder)
    return open_extractor(str(folder))


def volume(seed: int, *size: int) -> Tensor:
    return torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_volume_has_the_scale_of_its_slices(extractor: FeatureExtractor) -> None:
    one, other = volume(0, 18, 5, 6), volume(1, 18, 5, 6)
    means = []
    for axis in (2, 3, 4):
        slices = zip(one.unbind(axis), other.unbind(axis), strict=True)
        means.append(
            float(torch.cat([feature_distance(extractor, *both) for both in slices]).mean())
        )
    assert perceptual_distance(extractor, one, other) == pytest.approx(np.mean(means), rel=1e-5)
    assert perceptual_distance(extractor, one, one) == 0
    image = one[:, :, 0], other[:, :, 0]
    expected = float(feature_distance(extractor, *image))
    assert perceptual_distance(extractor, *image) == pytest.approx(expected)
    # Every 7th slice, from the middle of the first group that is not whole.
    means = []
    for axis, numbers in ((2, (1, 8, 15)), (3, (2,)), (4, (2,))):
        both = [[v.select(axis, n) for v in (one, other)] for n in numbers]
        means.append(np.mean([float(feature_distance(extractor, *pair)) for pair in both]))
    found = perceptual_distance(extractor, one, other, every=7)
    assert found == pytest.approx(np.mean(means), rel=1e-5)


def test_frechet_distance_is_its_formula() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(40, 6)), generator.normal(0.5, 2, size=(50, 6))
    moments = [FeatureMoments.of(torch.from_numpy(v)) for v in (first, second)]
    halves = FeatureMoments.of(torch.from_numpy(first[:7]))
    halves = halves + FeatureMoments.of(torch.from_numpy(first[7:]))
    covariances = [np.cov(v, rowvar=False) for v in (first, second)]
    np.testing.assert_allclose(halves.covariance.numpy(), covariances[0], atol=1e-12)
    np.testing.assert_allclose(halves.mean.numpy(), first.mean(0), atol=1e-12)
    difference = first.mean(0) - second.mean(0)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = difference @ difference + np.trace(sum(covariances) - 2 * root)
    assert frechet_distance(*moments) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(halves, moments[0]) == pytest.approx(0, abs=1e-9)


def test_fewer_vectors_than_channels_have_a_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(4, 9, generator=generator) for _ in range(2))
    distance = frechet_distance(FeatureMoments.of(first), FeatureMoments.of(second))
    assert 0 < distance < 100


def test_features_of_a_case_are_those_of_its_slices(extractor: FeatureExtractor) -> None:
    scan = volume(0, 20, 5, 6)
    vectors = [
        extractor(slice_)[-1].flatten(2).mean(2) for a in (2, 3, 4) for slice_ in scan.unbind(a)
    ]
    expected = FeatureMoments.of(torch.cat(vectors))
    found = feature_moments(extractor, scan)
    assert found.count == 31
    torch.testing.assert_close(found.mean, expected.mean, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found.covariance, expected.covariance, atol=1e-6, rtol=1e-4)


def test_too_small_is_one_line(extractor: FeatureExtractor) -> None:
    small = open_extractor(extractor.name.path)
    small.input = replace(small.input, least=6)
    with pytest.raises(ConfigError, match=r"takes images of 6 x 6 voxels or more, got .4, 5, 9."):
        feature_moments(small, volume(0, 4, 5, 9))


@pytest.mark.extras
def test_monais_frechet_distance() -> None:
    fid = pytest.importorskip("monai.metrics.fid")
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(60, 5, generator=generator) + n for n in (0, 1))
    expected = float(fid.get_fid_score(first.double(), second.double()))
    found = frechet_distance(FeatureMoments.of(first), FeatureMoments.of(second))
    assert found == pytest.approx(expected, rel=1e-5)
