"""The noise in front of the decoder belongs to the patch, and changes no other draw."""

from pathlib import Path

import pytest
import torch

from tests.conftest import tiny_model
from tests.trainer.test_trainer import build, weights
from vae3d.autoencoder.vae import CustomVAE
from vae3d.loss.config import LossConfig
from vae3d.model.gaussian import LatentNoise
from vae3d.trainer.batch_loss import deviations_of
from vae3d.values.latent_statistics import LatentStatistics

LATENT = torch.randn(3, 4, 6, 5, 4, generator=torch.Generator().manual_seed(0))


def noise_of(std: list[float] | None, level: float, seeds: list[int]) -> torch.Tensor:
    latent = LATENT[: len(seeds)]
    return LatentNoise(level, std, generators(*seeds)).added(latent) - latent


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_its_deviation_is_that_of_the_channels() -> None:
    std = [0.5, 1.0, 2.0, 4.0]
    one = noise_of(std, 0.1, [7, 8, 9])
    unit = one / (0.1 * torch.tensor(std).reshape(1, 4, 1, 1, 1))
    assert float(unit.std()) == pytest.approx(1, abs=0.05)
    assert torch.equal(noise_of(std, 0.0, [7, 8, 9]), torch.zeros_like(one))
    torch.testing.assert_close(noise_of(std, 0.2, [7, 8, 9]), 2 * one, atol=1e-5, rtol=0)
    # Without statistics: of each channel of each case.
    own = noise_of(None, 0.1, [7, 8, 9])
    deviation = LATENT.flatten(2).std(dim=2, correction=0).reshape(3, 4, 1, 1, 1)
    torch.testing.assert_close(own, 0.1 * deviation * unit, atol=1e-5, rtol=0)


def test_it_belongs_to_the_case() -> None:
    together = noise_of(None, 0.3, [7, 8, 9])
    assert torch.equal(together[:2], noise_of(None, 0.3, [7, 8]))
    assert not torch.equal(together, noise_of(None, 0.3, [6, 8, 9]))


def test_the_posterior_and_its_sample_stay() -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(zero_init=False))
    images = torch.rand(2, 1, 8, 8, 8)

    def outputs(noise: LatentNoise | None) -> tuple[torch.Tensor, ...]:
        output = model(images, generators(0, 1), noise)
        return output.posterior.mean, output.latent, output.reconstruction

    def noise() -> LatentNoise:
        return LatentNoise(0.5, [1.0] * 4, generators(3, 4))

    (mean, latent, image), (same, noisy, other) = outputs(None), outputs(noise())
    assert torch.equal(mean, same)
    assert torch.equal(noisy, noise().added(latent))
    assert not torch.equal(image, other)
    other.sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_lanes_change_no_bit_of_a_training_with_noise(tmp_path: Path) -> None:
    after = []
    for lanes, level in ((1, 0.3), (4, 0.3), (1, 0.0)):
        trainer = build(
            tmp_path / f"{lanes}{level}", steps=2, val_every=None, batch_size=4, portions=4,
            threads_per_portion=1, lanes=lanes, loss=LossConfig(latent_noise=level),
        )  # fmt: skip
        trainer.fit()
        assert ("latent_std" in trainer.state_dict()) == (level > 0)
        after.append(weights(trainer))
    assert all(torch.equal(a, b) for a, b in zip(after[0], after[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(after[0], after[2], strict=True))


def test_statistics_are_used_while_the_encoder_stays(tmp_path: Path) -> None:
    model = CustomVAE(tiny_model())
    model.statistics = LatentStatistics(1.0, 0.0, [0.0] * 4, [1.0, 2.0, 3.0, 4.0])
    assert deviations_of(model, None) is None
    model.encoder.requires_grad_(False)
    assert deviations_of(model, None) == [1.0, 2.0, 3.0, 4.0]
    loss = LossConfig(latent_noise=0.1)
    trainer = build(tmp_path, loss=loss, train=["decoder.*"], steps=2, val_every=None)
    trainer.loss.latent_std = [4.0, 3.0, 2.0, 1.0]
    trainer.fit()
    resumed = build(tmp_path, loss=loss, train=["decoder.*"], steps=2, val_every=None)
    resumed.resume(trainer.checkpoints.load(2).state)
    assert resumed.loss.latent_std == [4.0, 3.0, 2.0, 1.0]
