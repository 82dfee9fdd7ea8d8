"""Laws of the phantoms."""

import json
from pathlib import Path

import numpy as np
import pytest

from vae3d.phantoms.chest import phantom

GOLDEN = Path(__file__).parent.parent / "golden" / "phantoms.json"
"""`python -m tests.phantoms.test_chest` writes it again."""
SHAPES = [(1, 24, 24), (21, 24, 24), (32, 16, 8), (64, 64), (1, 1, 1), (5, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_phantom_is_a_function_of_its_arguments(shape: tuple[int, ...]) -> None:
    first = phantom(shape, seed=3, index=5)
    np.random.default_rng().normal(size=10)
    others = [phantom(shape, seed=3, index=6), phantom(shape, seed=4, index=5)]
    assert np.array_equal(first, phantom(shape, seed=3, index=5))
    assert not any(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_hounsfield_units_of_the_requested_shape(shape: tuple[int, ...]) -> None:
    for index in range(4):
        image = phantom(shape, seed=0, index=index)
        assert image.shape == shape
        assert image.dtype == np.float32
        assert image.min() >= -1024
        assert image.max() <= 2000


def test_every_tissue_exists_and_the_spine_is_at_the_back() -> None:
    for index in range(5):
        image = phantom((48, 48, 48), seed=0, index=index)
        for low, high in [(-1024, -950), (-920, -780), (-130, -70), (30, 80), (250, 1500)]:
            share = ((image > low) & (image < high)).mean()
            assert share > 0.003, (index, low, high)
        middle = image[:, :, 20:28] > 300
        assert middle[:, :24].sum() > 2 * middle[:, 24:].sum()


def test_a_patient_is_the_same_at_every_resolution() -> None:
    coarse = phantom((32, 32, 32), seed=0, index=1)
    fine = phantom((64, 64, 64), seed=0, index=1).reshape(32, 2, 32, 2, 32, 2).mean((1, 3, 5))
    assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.98


def test_patients_differ() -> None:
    sizes = [(phantom((96, 96), seed=0, index=i) > -300).mean() for i in range(8)]
    assert np.ptp(sizes) > 0.02


def block_means() -> list[list[float]]:
    """Return the mean HU of blocks of small phantoms and images, eight along each axis."""
    images = [phantom((32, 24, 32), seed=1, index=index) for index in range(10)]
    images += [phantom((40, 40), seed=2, index=index)[None] for index in range(6)]
    means = []
    for image in images:
        blocks = [
            np.array_split(image, min(8, length), axis=axis)
            for axis, length in enumerate(image.shape)
        ]
        means.append([round(float(part.mean()), 2) for parts in blocks for part in parts])
    return means


def test_phantoms_are_pinned() -> None:
    """A change would make scores on phantoms incomparable with older ones, without an error."""
    np.testing.assert_allclose(
        np.concatenate(block_means()),
        np.concatenate(json.loads(GOLDEN.read_text())),
        rtol=0,
        atol=0.05,
    )


if __name__ == "__main__":
    GOLDEN.write_text("[\n" + ",\n".join(map(json.dumps, block_means())) + "\n]\n")
