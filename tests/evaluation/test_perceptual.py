"""Scores in features of a network, against their formulas and MONAI's."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import tiny_model
from tests.evaluation.test_evaluator import Halving, evaluated
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.build import open_cases
from vae3d.data.config import SyntheticConfig
from vae3d.distances.frechet import frechet_distance
from vae3d.errors import ConfigError, RunError
from vae3d.features.distance import feature_distance
from vae3d.features.extractor import FeatureExtractor
from vae3d.features.opening import open_extractor
from vae3d.logger.console import ProgressBar
from vae3d.report.facts import fact_lines
from vae3d.scoring.perceptual import (
    FeatureDistance,
    feature_vectors,
    perceptual_distance,
)
from vae3d.scoring.scores import better_of


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


def test_features_of_a_case_are_those_of_its_slices(extractor: FeatureExtractor) -> None:
    scan = volume(0, 20, 5, 6)
    vectors = [
        extractor(slice_)[-1].flatten(2).mean(2) for a in (2, 3, 4) for slice_ in scan.unbind(a)
    ]
    found = feature_vectors(extractor, scan)
    assert len(found) == 31
    torch.testing.assert_close(found, torch.cat(vectors), atol=1e-6, rtol=1e-5)


def test_too_small_is_one_line(extractor: FeatureExtractor) -> None:
    small = open_extractor(extractor.name.path)
    small.input = replace(small.input, least=6)
    with pytest.raises(ConfigError, match=r"takes images of 6 x 6 voxels or more, got .4, 5, 9."):
        feature_vectors(small, volume(0, 4, 5, 9))


def test_the_frechet_distance_of_a_set_is_that_of_its_vectors(extractor: FeatureExtractor) -> None:
    scans, others = ([volume(n + start, 9, 8, 7)[0] for n in range(3)] for start in (0, 5))
    score = FeatureDistance(extractor, 3)
    own, other = ([score.describe(i, torch.Generator(), 3) for i in of] for of in (scans, others))
    vectors = [
        torch.cat([feature_vectors(extractor, i[None], 3) for i in of]).double().numpy()
        for of in (scans, others)
    ]
    found = score.compare(own, other)
    assert found == {
        "mean": pytest.approx(frechet_distance(*vectors), rel=1e-6), "vectors": len(vectors[0]),
    }  # fmt: skip
    assert found["mean"] > 0
    assert score.compare(own, own)["mean"] == pytest.approx(0, abs=1e-9)
    assert score.compare([own[0][:1]], [other[0][:1]]) == {}


def test_an_evaluation_has_both_distances(tmp_path: Path, extractor: FeatureExtractor) -> None:
    cases = open_cases(SyntheticConfig(shape=(9, 8, 7), count=3), ProgressBar("prepare", False))
    settings = {"features": extractor.name.path, "metrics": ["psnr"], "sets": []}
    result = evaluated(Halving(3), cases, tmp_path, feature_slices=2, **settings)
    for number, case in enumerate(result.cases):
        image = cases[number].range.to_model(cases[number].volume().data)[None]
        expected = perceptual_distance(extractor, image / 2, image, every=2)
        assert case.scores["perceptual"] == pytest.approx(expected, rel=1e-4)
    assert result.sets["frechet_features"]["vectors"] == 3 * (5 + 4 + 4)
    assert result.sets["frechet_features"]["mean"] > 0
    assert fact_lines({"sets": result.sets})["Feature distance"].endswith("(of 39 vectors)")
    assert better_of("perceptual") == -1
    assert extractor.name.digest in result.protocol["sharpness"]["perceptual"]


def test_features_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    cases = open_cases(SyntheticConfig(shape=(8, 8), count=1), ProgressBar("prepare", False))
    with pytest.raises(RunError, match=r"^evaluation\.features=.*nowhere: no such folder"):
        evaluated(Halving(2), cases, tmp_path, features=str(tmp_path / "nowhere"))
    CustomVAE(tiny_model(3)).save_pretrained(tmp_path / "3d")
    with pytest.raises(ConfigError, match=r"^evaluation\.features=.*takes volumes"):
        evaluated(Halving(2), cases, tmp_path, features=str(tmp_path / "3d"))
