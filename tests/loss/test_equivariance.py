"""The equivariance term: zero where a network commutes with the change, and of each case alone."""

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.conftest import run_distributed, tiny_model, tiny_trainer
from tests.laws.test_accumulation import assert_same, weights_after
from tests.laws.test_accumulation import config as training
from tests.trainer.test_trainer import build, weights
from vae3d.adversary.config import AdversarySpec
from vae3d.autoencoder.vae import CustomVAE
from vae3d.budget.footprint import footprint
from vae3d.commands.train_run import train
from vae3d.errors import ConfigError
from vae3d.loss.config import EquivarianceSpec, LossConfig
from vae3d.loss.equivariance import Equivariance, check_equivariance, relative_error
from vae3d.loss.grids import GridChange, draw_change, planes_of, resampled
from vae3d.loss.objective import Objective
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.sizes import pad_to_multiple
from vae3d.model.vae import VAEOutput
from vae3d.patching.region import Region
from vae3d.runtime.precision import Precision
from vae3d.runtime.seeding import numpy_generator

SPEC = EquivarianceSpec(weight=1.0)
LOSS = LossConfig(terms={"l1": 1.0, "ssim": 0.5}, equivariance=SPEC)


class BlockNetwork:
    """A network that commutes with flips, turns and shifts: it averages and repeats blocks."""

    memory_format = torch.contiguous_format

    def __init__(self, ramp: float = 0.0) -> None:
        self.ramp = ramp
        self.voxels = 0

    def seed_dropout(self, seeds: list[int]) -> None:
        self.seeds = seeds

    def decode(self, latent: Tensor, size: tuple[int, ...]) -> Tensor:
        self.voxels += latent.shape[0] * int(np.prod(size))
        image = F.interpolate(latent, scale_factor=2)[..., : size[0], : size[1], : size[2]]
        return image + self.ramp * torch.arange(image.shape[-1])

    def encode(self, image: Tensor) -> DiagonalGaussian:
        mean = F.avg_pool3d(pad_to_multiple(image, (2, 2, 2)), 2)
        return DiagonalGaussian(mean + self.ramp * torch.arange(mean.shape[-1]), mean)


def case(
    size: tuple[int, ...] = (8, 12, 8), count: int = 6
) -> tuple[VAEOutput, Tensor, list[tuple[int, ...]]]:
    """Images that are blocks of two voxels, and their latent."""
    generator = torch.Generator().manual_seed(0)
    latent = torch.rand(count, 1, *(n // 2 for n in size), generator=generator) * 2 - 1
    image = F.interpolate(latent, scale_factor=2)
    return VAEOutput(image, DiagonalGaussian(latent, latent), latent), image, [size] * count


def term(loss: LossConfig, network: BlockNetwork, *arguments: Any, first: int = 0) -> Tensor:
    output, images, inside = arguments
    equivariance = Equivariance(Objective(loss, (2, 2, 2)), loss.equivariance, (1.0, 1.0, 1.0))
    seeds = [*range(first, first + len(images))]
    return equivariance(cast(CustomVAE, network), output, images, inside, seeds)


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_it_is_zero_for_a_network_that_commutes(side: str) -> None:
    spec = replace(SPEC, side=side, min_scale=1.0, shift=2)
    loss = replace(LOSS, equivariance=spec)
    torch.testing.assert_close(term(loss, BlockNetwork(), *case()), torch.zeros(6))
    assert (term(loss, BlockNetwork(ramp=0.1), *case()) > 1e-3).all()
    scaled = term(
        replace(loss, equivariance=replace(spec, min_scale=0.5)), BlockNetwork(), *case()
    )
    assert (scaled > 1e-3).any()


def test_it_costs_half_a_decoder_on_average() -> None:
    """With the defaults: scales between 1/2 and 1 keep 15/32 of the voxels, less the shift."""
    network, arguments = BlockNetwork(), case((32, 32, 32), count=32)
    term(replace(LOSS, equivariance=replace(SPEC, shift=0)), network, *arguments)
    assert network.voxels / arguments[1].numel() == pytest.approx(15 / 32, abs=0.1)


def test_every_case_is_its_own() -> None:
    """Alone, in another order of seeds and next to padding, bit for bit."""
    output, images, inside = case()
    together = term(LOSS, BlockNetwork(0.1), output, images, inside)
    for place in range(len(images)):
        one = VAEOutput(*(_row(part, place) for part in vars(output).values()))
        alone = term(LOSS, BlockNetwork(0.1), one, images[[place]], inside[:1], first=place)
        torch.testing.assert_close(alone[0], together[place], atol=1e-6, rtol=0)
    assert together.unique().numel() == 6


def _row(part: Any, place: int) -> Any:
    if isinstance(part, Tensor):
        return part[[place]]
    return DiagonalGaussian(part.mean[[place]], part.logvar[[place]])


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_padding_counts_nowhere(side: str) -> None:
    loss = replace(LOSS, equivariance=replace(SPEC, side=side))
    output, images, _ = case()
    inside = [(8, 12, 8), (7, 12, 8), (8, 5, 6), (8, 8, 1), (1, 9, 8), (3, 3, 3)]
    before = term(loss, BlockNetwork(0.1), output, images, inside)
    other_images, other_latents = images.clone(), output.latent.clone()
    for place, size in enumerate(inside):
        outside = torch.ones(images.shape[2:], dtype=torch.bool)
        outside[Region((0, 0, 0), size).slices] = False
        other_images[place, :, outside] = 9.0
        cells = tuple(max(1, n // 2) for n in size)
        outside = torch.ones(output.latent.shape[2:], dtype=torch.bool)
        outside[Region((0, 0, 0), cells).slices] = False
        other_latents[place, :, outside] = 9.0
    posterior = DiagonalGaussian(other_latents, other_latents)
    changed = VAEOutput(other_images, posterior, other_latents)
    after = term(loss, BlockNetwork(0.1), changed, other_images, inside)
    assert torch.equal(before, after)
    assert torch.isfinite(before).all()


def test_a_scaled_picture_is_that_of_torch() -> None:
    picture = torch.rand(2, 3, 17, 24)
    expected = F.interpolate(picture, (11, 13), mode="bilinear", antialias=True)
    torch.testing.assert_close(resampled(picture, (11, 13)), expected, atol=1e-5, rtol=0)
    assert torch.equal(resampled(picture, (17, 24)), picture)
    flat = torch.full((1, 9, 9, 9), 0.7)
    torch.testing.assert_close(resampled(flat, (5, 6, 7)), torch.full((1, 5, 6, 7), 0.7))


@pytest.mark.parametrize("unit", [(1, 1, 1), (4, 2, 2)])
def test_a_change_is_that_of_numpy(unit: tuple[int, ...]) -> None:
    grid = torch.rand(2, *(n * u for n, u in zip((4, 6, 5), unit, strict=True)))
    change = GridChange(Region((1, 0, 2), (3, 6, 3)), (0, 2), (1, 2, 3), (3, 3, 6))
    a, b, c = unit
    box = grid.numpy()[:, a : 4 * a, :, 2 * c : 5 * c]
    expected = np.rot90(box[:, ::-1, :, ::-1], 3, (2, 3))
    assert np.array_equal(change.of(grid, unit).numpy(), expected)
    half = replace(change, size=(2, 2, 4))
    assert half.of(grid, unit).shape == (2, 2 * a, 2 * b, 4 * c)


def test_changes_are_all_drawn_and_none_other() -> None:
    generator = numpy_generator(0, "test")
    planes = planes_of((4, 4, 4), (1.0, 1.0, 1.0))
    assert planes == [(0, 1), (0, 2), (1, 2)]
    drawn = [draw_change(SPEC, (6, 6, 6), (0, 1, 2), planes, generator) for _ in range(400)]
    boxes = {change.box.corner for change in drawn}
    assert boxes == {*itertools.product((0, 1), repeat=3)}
    assert {change.flips for change in drawn} == {
        axes for n in range(4) for axes in itertools.combinations(range(3), n)
    }
    turns = {(*pair, quarters) for pair in planes for quarters in (1, 2, 3)}
    assert {change.turn for change in drawn} == {None, *turns}
    assert {n for change in drawn for n in change.size} == {3, 4, 5}
    still = replace(SPEC, min_scale=1.0, flips=False, turns=False, shift=0)
    assert draw_change(still, (3, 1, 4), (0, 2), planes, generator) == GridChange(
        Region((0, 0, 0), (3, 1, 4)), (), None, (3, 1, 4)
    )


def test_only_planes_of_equal_sides_are_turned() -> None:
    assert planes_of((4, 4, 4), None) == [(1, 2)], "scans of their own spacing"
    assert planes_of((4, 4, 4), (5.0, 1.0, 1.0)) == [(1, 2)]
    assert planes_of((2, 4, 4), (1.0, 1.0, 1.0)) == [(1, 2)]
    assert planes_of((4, 2, 4), (1.0, 1.0, 2.0)) == []
    assert planes_of((4, 4), None) == [(0, 1)]
    assert planes_of((4, 4), (9.0, 1.0, 2.0)) == []


def test_errors_of_latents_are_relative() -> None:
    latents, targets = torch.randn(2, 3, 4, 5, 6), torch.randn(2, 3, 4, 5, 6)
    error = relative_error(1e3 * latents, 1e3 * targets)
    torch.testing.assert_close(error, relative_error(1e4 * latents, 1e4 * targets))
    channel = (latents[0, 0] - targets[0, 0]).square().mean() / targets[0, 0].var(correction=0)
    others = relative_error(1e3 * latents[:1, :1], 1e3 * targets[:1, :1])
    torch.testing.assert_close(others[0], channel, atol=1e-5, rtol=1e-5)


def test_settings_that_train_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs a term of loss\.terms above 0"):
        LossConfig(terms={"l1": 0.0}, equivariance=SPEC)
    model = CustomVAE(tiny_model())
    loss = LossConfig(terms={}, equivariance=EquivarianceSpec(weight=1.0, side="encoder"))
    check_equivariance(loss, model)
    model.encoder.requires_grad_(False)
    with pytest.raises(ConfigError, match="trains the encoder, which trainer"):
        check_equivariance(loss, model)
    check_equivariance(LOSS, model)


def test_it_is_logged_and_warmed_up(tmp_path: Path) -> None:
    assert LOSS.columns == ["loss", "l1", "ssim", "kl", "equivariance", "kl_weight"]
    assert "equivariance" not in LossConfig().columns
    spec = replace(SPEC, weight=0.5, warmup_steps=4)
    loss = replace(LOSS, terms={"l1": 1.0}, kl_weight=0.0, equivariance=spec)
    trainer = build(tmp_path, steps=6, val_every=None, loss=loss)
    trainer.fit()
    log = trainer.logger
    totals, l1, value = (log.column(n) for n in ("loss", "l1", "equivariance"))  # type: ignore[attr-defined]
    for step, total in enumerate(totals):
        weight = 0.5 * min(1.0, step / 4)
        assert total == pytest.approx(l1[step] + weight * value[step], rel=1e-5)


@pytest.mark.parametrize("side", ["decoder", "encoder", "decoder with an adversary"])
def test_lanes_change_no_bit_and_steps_resume(tmp_path: Path, side: str) -> None:
    weight = 0.1 if "adversary" in side else 0.0
    adversary = AdversarySpec(weight=weight, adaptive=True, levels=1, channels=4)
    spec = replace(SPEC, side=side.split()[0])
    loss = replace(LOSS, equivariance=spec, adversary=adversary)
    after = []
    for lanes in (1, 4):
        trainer = build(
            tmp_path / f"{side}{lanes}", steps=4, val_every=None, batch_size=4, portions=4,
            threads_per_portion=1, lanes=lanes, loss=loss,
        )  # fmt: skip
        trainer.fit()
        after.append(weights(trainer))
    resumed = build(
        tmp_path / f"{side}4", steps=4, val_every=None, batch_size=4, portions=4,
        threads_per_portion=1, lanes=2, loss=loss,
    )  # fmt: skip
    resumed.resume(resumed.checkpoints.load(2).state)
    assert resumed.state.step == 2
    resumed.fit()
    for others in (after[1], weights(resumed)):
        assert all(torch.equal(a, b) for a, b in zip(after[0], others, strict=True))


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_accumulation_and_ranks_change_nothing(tmp_path: Path, side: str) -> None:
    loss = replace(LOSS, equivariance=replace(SPEC, side=side))
    after = []
    for batch_size, accumulation, portions in ((4, 1, 1), (2, 2, 1), (4, 1, 2)):
        trainer = build(
            tmp_path / f"{batch_size}{portions}", steps=3, val_every=None, optimizer="sgd",
            lr=1e-2, batch_size=batch_size, accumulation=accumulation, portions=portions,
            loss=loss,
        )  # fmt: skip
        trainer.fit()
        after.append(trainer.model.state_dict())
    assert_same(after[0], after[1])
    assert_same(after[0], after[2])


@pytest.mark.slow
@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_two_ranks_are_one(tmp_path: Path, side: str) -> None:
    once = weights_after(train(_training(tmp_path / "once", 8, side)))
    for portions in (1, 2):
        run_distributed(partial(_rank, side, portions), tmp_path / str(portions))
        assert_same(once, weights_after(tmp_path / str(portions) / "run"))


def _training(folder: Path, batch_size: int, side: str, portions: int = 1) -> Any:
    loss = LossConfig(terms={"l1": 1.0}, equivariance=EquivarianceSpec(weight=1.0, side=side))
    trainer = tiny_trainer(
        steps=6, batch_size=batch_size, optimizer="sgd", lr=1e-2, portions=portions
    )
    return training(folder, batch_size, 1, loss=loss, trainer=trainer)


def _rank(side: str, portions: int, rank: int, folder: Path) -> None:
    train(_training(folder, 4, side, portions))


@pytest.mark.parametrize("side", ["decoder", "encoder"])
def test_its_memory_is_counted(side: str) -> None:
    device = torch.device("cpu")
    precision = Precision("fp32", device, "trainer.precision")

    def counted(loss: LossConfig) -> tuple[int, float]:
        found = footprint(tiny_model(), loss, precision, device, (2, 1, 16, 16, 16), "nothing")
        return found.peak, found.work

    without = counted(LossConfig())
    with_it = counted(LossConfig(equivariance=replace(SPEC, side=side, min_scale=0.9)))
    assert all(1.2 * a < b < 2.1 * a for a, b in zip(without, with_it, strict=True))
