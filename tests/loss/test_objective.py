"""The objective against slow references, case by case."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vae3d.errors import ConfigError
from vae3d.loss.config import LOSSES, LossConfig
from vae3d.loss.objective import Objective
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.model.vae import VAEOutput


def output(shape: tuple[int, ...] = (8, 8, 8)) -> tuple[VAEOutput, torch.Tensor]:
    torch.manual_seed(0)
    latent = tuple(s // 2 for s in shape)
    posterior = DiagonalGaussian(torch.randn(3, 2, *latent), torch.randn(3, 2, *latent))
    image = torch.rand(3, 1, *shape) * 2 - 1
    reconstruction = (image + 0.2 * torch.randn_like(image)).requires_grad_()
    return VAEOutput(reconstruction, posterior, posterior.mean), image


def test_kl_is_the_closed_form_of_torch() -> None:
    posterior = output()[0].posterior
    expected = kl_divergence(Normal(posterior.mean, posterior.std), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl(), expected)


@pytest.mark.parametrize("reduction", ["mean", "sum", "voxel"])
def test_kl_reductions(reduction: str) -> None:
    result, image = output()
    objective = Objective(LossConfig(terms={}, kl_reduction=reduction, kl_weight=2.0), (2, 2, 2))
    kl = result.posterior.kl().flatten(1)
    expected = {"mean": kl.mean(1), "sum": kl.sum(1), "voxel": kl.sum(1) / 512}[reduction]
    terms = objective(result, image, [(8, 8, 8)] * 3, 0)
    torch.testing.assert_close(terms.by_name["kl"], expected)
    torch.testing.assert_close(terms.total, 2 * expected)


def test_padding_affects_no_term() -> None:
    result, image = output()
    objective = Objective(
        LossConfig(terms={"l1": 1.0, "mse": 1.0, "ssim": 1.0}, kl_weight=1.0), (2, 2, 2)
    )
    inside = [(8, 8, 8), (5, 8, 8), (3, 4, 7)]
    terms = objective(result, image, inside, 0)
    terms.total.sum().backward()
    gradient = result.reconstruction.grad
    assert gradient is not None
    assert (gradient[1, :, 5:] == 0).all()
    assert (gradient[2, :, :, 4:] == 0).all()
    d, h, w = inside[2]
    cut = (result.reconstruction - image)[2:, :, :d, :h, :w].abs().mean()
    torch.testing.assert_close(terms.by_name["l1"][2], cut)
    kl = result.posterior.kl()[2, :, :2, :2, :4].mean()
    torch.testing.assert_close(terms.by_name["kl"][2], kl)


def test_free_bits_and_warmup() -> None:
    result, image = output()
    config = LossConfig(terms={}, kl_weight=3.0, kl_warmup_steps=10, free_bits=1e3)
    objective = Objective(config, (2, 2, 2))
    terms = objective(result, image, [(8, 8, 8)] * 3, 5)
    torch.testing.assert_close(terms.by_name["kl"], torch.full((3,), 1e3))
    assert [objective.kl_weight_at(step) for step in (0, 5, 10, 99)] == [0, 1.5, 3, 3]


def test_free_bits_apply_to_each_channel() -> None:
    """Free bits between the KLs of two channels: one is raised to them, the other unchanged."""
    result, image = output()
    kl = result.posterior.kl().flatten(2).mean(2)
    free = float(kl[0].mean())
    assert kl[0].min() < free < kl[0].max()
    for reduction, factor in (("mean", 1 / 2), ("sum", 64), ("voxel", 64 / 512)):
        config = LossConfig(terms={}, free_bits=free, kl_reduction=reduction)
        terms = Objective(config, (2, 2, 2))(result, image, [(8, 8, 8)] * 3, 0)
        expected = kl.clamp(min=free).sum(1) * factor
        torch.testing.assert_close(terms.by_name["kl"], expected)


def test_terms_add_up_with_their_weights() -> None:
    result, image = output()
    config = LossConfig(terms={"l1": 0.5, "mse": 3.0, "ssim": 0.0}, kl_weight=0.25)
    terms = Objective(config, (2, 2, 2))(result, image, [(8, 8, 8)] * 3, 0)
    assert {*terms.by_name} == {"l1", "mse", "kl"}, "what has no weight is not computed"
    error = (result.reconstruction - image).flatten(1)
    torch.testing.assert_close(terms.by_name["l1"], error.abs().mean(1))
    torch.testing.assert_close(terms.by_name["mse"], error.square().mean(1))
    expected = 0.5 * error.abs().mean(1) + 3 * error.square().mean(1)
    torch.testing.assert_close(terms.total, expected + 0.25 * terms.by_name["kl"])


@pytest.mark.parametrize("name", LOSSES)
def test_a_callers_autocast_and_half_precision_change_no_term(name: str) -> None:
    result, image = output()
    half = VAEOutput(result.reconstruction.bfloat16(), result.posterior, result.latent)
    objective = Objective(LossConfig(terms={name: 1.0}), (2, 2, 2))
    expected = {
        name: LOSSES[name](half.reconstruction.float(), image),
        "kl": result.posterior.kl().flatten(1).mean(1),
    }
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(half, image, [(8, 8, 8)] * 3, 0)
    for term, value in expected.items():
        assert terms.by_name[term].dtype == torch.float32
        torch.testing.assert_close(terms.by_name[term], value)


def test_products_of_a_term_are_in_float32(request: pytest.FixtureRequest) -> None:
    """Autocast would round a matrix product to bfloat16."""

    def product(reconstruction: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        return (reconstruction.flatten(1) @ image.flatten(1).T).diagonal()

    LOSSES.register("product")(product)
    request.addfinalizer(lambda: LOSSES.remove("product"))
    result, image = output()
    expected = (result.reconstruction.double() * image.double()).flatten(1).sum(1).float()
    objective = Objective(LossConfig(terms={"product": 1.0}), (2, 2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(result, image, [(8, 8, 8)] * 3, 0)
    torch.testing.assert_close(terms.by_name["product"], expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"terms": {"l3": 1.0}},
        {"terms": {"l1": -0.1}},
        {"terms": {"l1": math.inf}},
        {"kl_reduction": "max"},
        {"kl_weight": -1e-9},
        {"kl_warmup_steps": -1},
        {"free_bits": math.nan},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"loss\.{next(iter(wrong))}"):
        LossConfig(**wrong)


def test_samples_come_from_their_generators_alone() -> None:
    posterior = output()[0].posterior

    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (4, 5, 6)]

    together = posterior.sample(generators())
    for index, generator in enumerate(generators()):
        one = DiagonalGaussian(posterior.mean[index : index + 1], posterior.logvar[index][None])
        torch.testing.assert_close(one.sample([generator])[0], together[index])
    noise = draw_noise((1, 1, 200, 200), torch.Generator().manual_seed(0))
    assert abs(noise.mean().item()) < 0.02
    assert math.isclose(noise.std().item(), 1, abs_tol=0.02)
