"""The laws of training hold with a perceptual term, whose network is no part of the model."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import run_distributed, tiny_model, tiny_trainer, tiny_training
from tests.laws.test_accumulation import DATA, PATCHING, assert_same, weights_after
from tests.laws.test_resume import assert_equal_states, final_state
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.train_run import train
from vae3d.errors import RunError
from vae3d.loss.config import LossConfig, PerceptualSpec
from vae3d.run.config import TrainConfig
from vae3d.trainer.perceptual import refuse_other_features


def encoder(folder: Path, seed: int = 0) -> Path:
    """Random weights in 2D, whose encoder is to see slices."""
    torch.manual_seed(seed)
    CustomVAE(tiny_model(2, zero_init=False)).save_pretrained(folder)
    return folder


def config(
    folder: Path, features: Path, batch_size: int = 8, accumulation: int = 1, **changes: object
) -> TrainConfig:
    trainer = tiny_trainer(
        steps=4, batch_size=batch_size, accumulation=accumulation, optimizer="sgd", lr=1e-2
    )
    loss = LossConfig(perceptual=PerceptualSpec(str(features), weight=1.0, slices=0.3))
    values = {"data": DATA, "patching": PATCHING, "trainer": trainer, "loss": loss, **changes}
    return tiny_training(folder, **values)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder(tmp_path_factory.mktemp("features") / "2d")


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, features: Path) -> Path:
    return train(config(tmp_path_factory.mktemp("once"), features))


@pytest.fixture(scope="module")
def at_once(once: Path) -> dict[str, Tensor]:
    return weights_after(once)


def test_accumulation(
    once: Path, at_once: dict[str, Tensor], features: Path, tmp_path: Path
) -> None:
    assert_same(at_once, weights_after(train(config(tmp_path, features, 2, 4))))
    header = (once / "metrics.csv").read_text().splitlines()[0]
    assert "perceptual" in header
    without = train(config(tmp_path / "without", features, loss=LossConfig()))
    with pytest.raises(AssertionError):
        assert_same(at_once, weights_after(without))


def test_portions_and_lanes_change_no_bit(features: Path, tmp_path: Path) -> None:
    states = []
    for lanes in (1, 4):
        settings = config(tmp_path / str(lanes), features)
        trainer = replace(settings.trainer, portions=4, threads_per_portion=1, lanes=lanes)
        states.append(weights_after(train(replace(settings, trainer=trainer))))
    assert_equal_states(*states)


def test_resumed_is_uninterrupted(once: Path, features: Path, tmp_path: Path) -> None:
    folder, state = tmp_path / "run", final_state(once)
    shutil.copytree(once, folder)
    shutil.rmtree(folder / "checkpoints/step_00000004")
    # The same tensors may be elsewhere: they are known by their SHA-256.
    moved = shutil.copytree(features, tmp_path / "moved")
    train(config(tmp_path, moved))
    assert_equal_states(final_state(folder), state)
    assert (folder / "metrics.csv").read_bytes() == (once / "metrics.csv").read_bytes()
    assert not any("perceptual" in name or "extractor" in name for name in state["model"])


def test_other_features_are_refused(once: Path, features: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(once, tmp_path / "run")
    shutil.rmtree(folder / "checkpoints/step_00000004")
    before = final_state(folder)
    cases = (
        (
            config(tmp_path, encoder(tmp_path / "other", 1)),
            "holds .*: name the folder of the",
        ),
        (config(tmp_path, tmp_path / "none"), "no such folder.*was trained with features of SHA"),
    )
    for settings, said in cases:
        with pytest.raises(RunError, match=said) as told:
            train(settings)
        assert "\n" not in str(told.value)
    assert_equal_states(final_state(folder), before)


def test_a_term_is_neither_dropped_nor_added(tmp_path: Path) -> None:
    sums = "a" * 64, "b" * 64
    cases = (
        ((sums[0], None), "trained with features of SHA-256 aaaaaaaaaaaa; add loss.perceptual"),
        ((None, sums[1]), "trained without a perceptual term; drop loss.perceptual.features"),
        ((sums[0], sums[1]), "loss.perceptual.features holds bbbbbbbbbbbb: name the folder of"),
    )
    for (recorded, now), said in cases:
        about = {} if recorded is None else {"features": recorded}
        with pytest.raises(RunError, match=said):
            refuse_other_features(tmp_path, about, now)
        refuse_other_features(tmp_path, about, recorded)


def test_a_finished_run_needs_no_features(once: Path, tmp_path: Path) -> None:
    shutil.copytree(once, tmp_path / "run")
    assert train(config(tmp_path, tmp_path / "gone")) == tmp_path / "run"


def _train_half(rank: int, folder: Path) -> None:
    train(config(folder, folder / "2d", 2, 2))


@pytest.mark.slow
def test_two_ranks_are_one_with_the_doubled_batch(
    at_once: dict[str, Tensor], tmp_path: Path
) -> None:
    encoder(tmp_path / "2d")
    run_distributed(_train_half, tmp_path)
    assert_same(at_once, weights_after(tmp_path / "run"))
