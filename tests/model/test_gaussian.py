"""The posterior against torch.distributions, and sizes that the factor does not divide."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vae3d.model.gaussian import DiagonalGaussian, draw_noise, without_variance
from vae3d.model.sizes import cropped, pad_to_multiple


def posterior() -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(0)
    return DiagonalGaussian(*torch.randn(2, 3, 2, 4, 5, 6, generator=generator))


def test_it_is_torchs_normal_distribution() -> None:
    q = posterior()
    expected = Normal(q.mean, (q.logvar / 2).exp())
    torch.testing.assert_close(q.std, expected.stddev)
    torch.testing.assert_close(q.kl(), kl_divergence(expected, Normal(0.0, 1.0)))
    assert torch.equal(q.mode(), expected.mode)
    noise = torch.randn_like(q.mean)
    torch.testing.assert_close(q.at(noise), q.mean + noise * expected.stddev)


def test_kl_is_pinned() -> None:
    """(mu^2 + sigma^2 - 1 - ln sigma^2) / 2 of N(0, 1), N(2, 1) and N(0, e)."""
    q = DiagonalGaussian(torch.tensor([0.0, 2.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(q.kl(), torch.tensor([0.0, 2.0, 0.35914091]))


def test_kl_has_the_memory_format_of_the_posterior() -> None:
    """Another one would sum its gradients in another order, and trainings end with other bits."""
    mean = posterior().mean.contiguous(memory_format=torch.channels_last_3d)
    logvar = posterior().logvar.contiguous(memory_format=torch.channels_last_3d)
    kl = DiagonalGaussian(mean, logvar).kl()
    assert kl.is_contiguous(memory_format=torch.channels_last_3d)
    assert not torch.equal(kl, torch.zeros_like(kl))
    of_codes = without_variance(mean).kl()
    assert torch.equal(of_codes, torch.zeros_like(kl))


def test_one_generator_or_one_a_case() -> None:
    q = posterior()
    together = q.sample(torch.Generator().manual_seed(1))
    noise = torch.randn(3, 2, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(together, q.at(noise))
    each = [torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    seeds = [torch.Generator().manual_seed(seed) for seed in range(3)]
    assert torch.equal(draw_noise((3, 2, 4, 5, 6), seeds), torch.stack(each))


def test_without_a_generator_the_noise_is_torchs_own() -> None:
    q = posterior()
    torch.manual_seed(4)
    first, second = q.sample(), q.sample()
    assert not torch.equal(first, second)
    torch.manual_seed(4)
    assert torch.equal(q.sample(), first)
    torch.manual_seed(4)
    assert torch.equal(q.at(torch.randn(3, 2, 4, 5, 6)), first)


@pytest.mark.parametrize(
    ("shape", "factor"), [((7, 9), (4, 3)), ((8, 9, 5), (4, 4, 1)), ((1, 1, 1), (8, 2, 4))]
)
def test_padding_repeats_the_last_voxel(shape: tuple[int, ...], factor: tuple[int, ...]) -> None:
    image = torch.rand(2, 3, *shape)
    padded = pad_to_multiple(image, factor)
    missing = [(0, -side % step) for side, step in zip(shape, factor, strict=True)]
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), *missing], mode="edge")
    assert np.array_equal(padded.numpy(), expected)
    assert torch.equal(cropped(padded, shape), image)


def test_what_fits_is_not_copied() -> None:
    image = torch.rand(1, 1, 8, 6)
    assert pad_to_multiple(image, (4, 3)) is image
    assert torch.equal(cropped(image, (5, 2)), image[:, :, :5, :2])
