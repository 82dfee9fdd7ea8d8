"""What a probe sees of latents and scans, and how predictions are scored."""

import math

import numpy as np
import pytest
import torch

from vae3d.probing.features import coarse, on_grid, pooled
from vae3d.probing.scores import class_scores, number_scores


def test_pooled_is_mean_and_deviation_of_each_channel() -> None:
    latent = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    values = latent.numpy().reshape(3, -1).astype(np.float64)
    np.testing.assert_allclose(pooled(latent), [*values.mean(1), *values.std(1)], rtol=1e-6)


@pytest.mark.parametrize("size", [(4, 8, 12), (2, 2), (3, 5, 7), (9, 6)])
def test_a_grid_averages_blocks_of_any_size(size: tuple[int, ...]) -> None:
    latent = torch.randn(2, *size, generator=torch.Generator().manual_seed(0))
    grid = on_grid(latent, 2)
    assert grid.shape == (2 * 2 ** len(size),)
    corner = latent[(slice(None), *(slice(math.ceil(n / 2)) for n in size))]
    blocks = grid.reshape(2, *(2,) * len(size))
    expected = corner.flatten(1).double().mean(1)
    torch.testing.assert_close(blocks[(slice(None), *(0,) * len(size))], expected)
    torch.testing.assert_close(on_grid(latent, 1), latent.flatten(1).double().mean(1))


@pytest.mark.parametrize(
    ("shape", "numbers", "side"),
    [((1, 8, 8, 8), 8, 2), ((1, 8, 8, 8), 26, 2), ((1, 8, 8), 64, 8), ((1, 9, 9), 3, 1),
     ((2, 6, 6), 8, 2), ((3, 4, 4), 1, 1), ((1, 4, 4, 4), 64, 4)],
)  # fmt: skip
def test_a_coarse_scan_has_no_more_values(shape: tuple[int, ...], numbers: int, side: int) -> None:
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = coarse(image, numbers)
    assert torch.equal(values, on_grid(image, side))
    assert len(values) <= max(numbers, shape[0])


def test_scores_of_classes_are_those_of_their_definition() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 60)
    shares = generator.random((60, 3)).round(1)  # with ties
    predicted = shares.argmax(1)
    scores = class_scores(truth, predicted, shares)
    recalls = [np.mean(predicted[truth == k] == k) for k in range(3)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    areas = []
    for k in range(3):
        pairs = [
            float(a > b) + 0.5 * float(a == b)
            for a in shares[truth == k, k]
            for b in shares[truth != k, k]
        ]
        areas.append(np.mean(pairs))
    assert scores["roc_auc"] == pytest.approx(np.mean(areas))
    perfect = class_scores(truth, truth, np.eye(3)[truth])
    assert perfect == {"balanced_accuracy": 1, "roc_auc": 1}
    alone = class_scores(np.zeros(4, int), np.zeros(4, int), np.eye(3)[[0, 0, 1, 2]])
    assert math.isnan(alone["roc_auc"])
    assert alone["balanced_accuracy"] == 1


def test_scores_of_numbers_are_those_of_their_definition() -> None:
    truth, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 3.0])
    scores = number_scores(truth, predicted)
    assert scores["mae"] == pytest.approx(2 / 3)
    assert scores["r2"] == pytest.approx(1 - 2 / (16 / 9 + 1 / 9 + 25 / 9))
    assert number_scores(truth, truth) == {"r2": 1, "mae": 0}
    assert math.isnan(number_scores(np.ones(3), truth)["r2"])
