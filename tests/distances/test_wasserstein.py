"""The sliced Wasserstein distance: the pyramid is scipy's, the distance numpy's."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from vae3d.distances import wasserstein
from vae3d.distances.wasserstein import (
    KERNEL,
    SIDE,
    Patches,
    laplacian_pyramid,
    patches_per_image,
    sample_patches,
    sliced_wasserstein,
)
from vae3d.runtime.seeding import torch_generator


def image(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, *shape, generator=generator)
    return torch.from_numpy(ndimage.gaussian_filter(values[0].numpy(), 1.0))[None]


def sampled(values: Tensor, count: int = 400, case: str = "case") -> Patches:
    return sample_patches(values, count, torch_generator(0, case))


def slow_filter(values: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in range(values.ndim):
        values = ndimage.correlate1d(values, KERNEL, axis, mode="mirror")
    return values


@pytest.mark.parametrize("shape", [(40, 33), (28, 31, 30), (13, 40, 40), (7, 9)], ids=str)
def test_the_pyramid_is_the_filters_of_scipy(shape: tuple[int, ...]) -> None:
    values = image(*shape)
    here = values[0].double().numpy()
    for band in laplacian_pyramid(values)[:-1]:
        smaller = slow_filter(here)[(slice(None, None, 2),) * here.ndim]
        spread = np.zeros_like(here)
        spread[(slice(None, None, 2),) * here.ndim] = smaller
        back = slow_filter(spread) * 2**here.ndim
        np.testing.assert_allclose(band[0].numpy(), here - back, atol=1e-5)
        here = smaller
    np.testing.assert_allclose(laplacian_pyramid(values)[-1][0].numpy(), here, atol=1e-5)


def test_levels_end_where_patches_do_not_fit() -> None:
    sizes = {(64, 64): 3, (27, 40, 40): 3, (25, 40): 3, (24, 40): 2, (13, 13): 2, (12, 12): 1}
    sizes |= {(7, 30): 1, (6, 30): 0, (1, 64, 64): 0}
    found = {shape: len(laplacian_pyramid(image(*shape))) for shape in sizes}
    assert found == sizes
    assert sampled(image(6, 30)).projections == ()


@pytest.mark.parametrize("shape", [(30, 31), (16, 17, 18)], ids=str)
def test_the_distance_is_that_of_numpy_and_scipy(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patches cut one by one, projected, and compared direction by direction."""
    monkeypatch.setattr(wasserstein, "DIRECTIONS", 5)
    pairs = [(image(*shape, seed=n), 0.6 * image(*shape, seed=n + 9)) for n in range(2)]
    sets = [[sampled(pair[side], 50, str(n)) for n, pair in enumerate(pairs)] for side in (0, 1)]
    found = sliced_wasserstein(*sets)
    expected = []
    for level in range(len(found)):
        cut: list[list[NDArray[np.float64]]] = [[], []]
        for n, pair in enumerate(pairs):
            generator = torch_generator(0, str(n))
            for _ in shape:
                torch.randint(1, (1,), generator=generator)
            for at, bands in enumerate(zip(*map(laplacian_pyramid, pair), strict=True)):
                sizes = [s - SIDE + 1 for s in bands[0].shape[1:]]
                places = [torch.randint(s, (50,), generator=generator).tolist() for s in sizes]
                if at == level:
                    for own, band in zip(cut, bands, strict=True):
                        for corner in zip(*places, strict=True):
                            where = tuple(slice(c, c + SIDE) for c in corner)
                            own.append(band[0][where].double().numpy().ravel())
        first, second = map(np.stack, cut)
        directions = wasserstein._directions(first.shape[1]).double().numpy()
        each = [stats.wasserstein_distance(first @ d, second @ d) for d in directions.T]
        deviation = np.sqrt(np.mean([part.var() for part in np.split(first, 2)]))
        expected.append(np.mean(each) / deviation)
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_same_set_is_at_no_distance_and_order_is_nothing() -> None:
    every = [sampled(image(40, 40, seed=n), case=str(n)) for n in range(3)]
    assert sliced_wasserstein(every, every) == [0.0, 0.0, 0.0]
    other = [sampled(0.5 * image(40, 40, seed=n), case=str(n)) for n in range(3)]
    assert sliced_wasserstein(every, other) == pytest.approx(
        sliced_wasserstein(every[::-1], other[::-1])
    )


def test_blur_is_farther_in_finer_levels_and_noise_is_no_way_back() -> None:
    scans = [image(48, 48, 48, seed=n) for n in range(2)]
    blurred = [torch.from_numpy(ndimage.gaussian_filter(s[0].numpy(), 0.8))[None] for s in scans]
    lost = [float((s - b).std()) for s, b in zip(scans, blurred, strict=True)]
    noisy = [b + n * torch.randn(b.shape, generator=torch.Generator().manual_seed(5))
             for b, n in zip(blurred, lost, strict=True)]  # fmt: skip
    own = [sampled(s, case=str(n)) for n, s in enumerate(scans)]
    near, far = (
        sliced_wasserstein(own, [sampled(s, case=str(n)) for n, s in enumerate(images)])
        for images in (blurred, noisy)
    )
    assert near[0] > near[1] > near[2] > 0
    assert far[0] > 0.1


def test_sets_of_different_sizes_are_thinned_to_the_smaller_one() -> None:
    few = Patches((torch.tensor([[0.0], [1.0]]),), (1.0,))
    many = Patches((torch.arange(6.0)[:, None] / 5,), (1.0,))
    # Of six sorted values the second and the fifth.
    assert sliced_wasserstein([few], [many]) == pytest.approx([(0.2 + 0.2) / 2])


def test_places_depend_on_the_seed_and_the_shape_alone() -> None:
    first, again = sampled(image(70, 70)), sampled(image(70, 70))
    other = sampled(image(70, 70), case="another")
    for a, b, c in zip(first.projections, again.projections, other.projections, strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    doubled = sampled(2 * image(70, 70))
    torch.testing.assert_close(doubled.projections[0], 2 * first.projections[0])


def test_images_share_the_patches_of_a_set() -> None:
    assert patches_per_image(1) == patches_per_image(8) == 2048
    assert patches_per_image(16) == 1024
    assert patches_per_image(10**6) == 1
    large = sampled(image(130, 140), 100)
    assert [len(level) for level in large.projections] == [100, 100, 100], "of four regions"


def test_nothing_in_the_scans() -> None:
    even, other = torch.zeros(1, 20, 20), image(20, 20)
    assert sliced_wasserstein([sampled(even)], [sampled(even)]) == [0.0, 0.0]
    assert sliced_wasserstein([sampled(even)], [sampled(other)]) == [math.inf, math.inf]
    assert sliced_wasserstein([], []) == []
