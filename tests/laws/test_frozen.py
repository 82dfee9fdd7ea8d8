"""What is frozen in a training stays bit-identical in every kind of weights."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.conftest import run_distributed, tiny_model, tiny_trainer, tiny_training
from tests.laws.test_accumulation import assert_same, config, weights_after
from tests.laws.test_resume import assert_equal_states, final_state
from tests.trainer.test_trainer import build
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.train_run import train
from vae3d.errors import ConfigError, RunError
from vae3d.model.config import VAEConfig
from vae3d.model.frozen import freeze, frozen_names
from vae3d.run.config import TrainConfig
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.seeding import seed_global

TRAINS: list[list[str]] = [["decoder.*"], ["encoder.*"], ["*.conv2.*", "decoder.head.*"]]
# Everything by which a frozen weight might move.
HARD = {"ema_decay": 0.5, "weight_decay": 0.5, "lr": 1e-2, "steps": 4, "val_every": 2}


def first_weights(model: VAEConfig) -> CustomVAE:
    seed_global(0, "model")
    return CustomVAE(model)


def training(folder: Path, patterns: list[str], **changes: Any) -> TrainConfig:
    model = tiny_model(norm=changes.pop("norm", "layer"), dropout=0.1)
    trainer = tiny_trainer(train=patterns, **{**HARD, **changes})
    return tiny_training(folder, model=model, trainer=trainer)


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("patterns", TRAINS, ids=str)
def test_frozen_weights_are_bit_identical_everywhere(
    tmp_path: Path, norm: str, patterns: list[str]
) -> None:
    settings = training(tmp_path, patterns, norm=norm)
    before = first_weights(settings.model)
    freeze(before, patterns)
    frozen, first = frozen_names(before), before.state_dict()
    run = train(settings)
    state = final_state(run)
    kinds = {
        "checkpoint": state["model"],
        "averaged": state["ema"]["average"],
        **{
            w: load_file(RunFolder(run).weights(w) / "model.safetensors")
            for w in ("best", "latest")
        },
    }
    for kind, weights in kinds.items():
        assert weights.keys() == first.keys()
        moved = {name for name, value in weights.items() if not torch.equal(value, first[name])}
        assert moved.isdisjoint(frozen), kind
        # A bias in front of a batch norm has no gradient.
        assert len(moved) > 0.5 * (len(first) - len(frozen)), kind
    assert len(state["optimizer"]["state"]) == sum(p.requires_grad for p in before.parameters())


def test_a_run_resumes_with_what_it_trains_and_with_nothing_else(tmp_path: Path) -> None:
    settings = training(tmp_path, ["decoder.*"])
    run = train(settings)
    metrics, state = (run / "metrics.csv").read_bytes(), final_state(run)
    shutil.rmtree(run / "checkpoints/step_00000004")
    for other in ("all", "decoder", ["decoder.head.*"]):
        changed = replace(settings, trainer=replace(settings.trainer, train=other))
        with pytest.raises(RunError, match=r"trainer\.train: \[decoder\.\*\] -> "):
            train(changed)
    train(settings)
    assert (run / "metrics.csv").read_bytes() == metrics
    assert_equal_states(final_state(run), state)


def test_a_run_without_the_setting_trains_all(tmp_path: Path) -> None:
    run = train(tiny_training(tmp_path, trainer=tiny_trainer(steps=2)))
    saved = run / "config.yaml"
    lines = saved.read_text().splitlines()
    saved.write_text("\n".join(line for line in lines if "train: all" not in line))
    assert "train: all" not in saved.read_text()
    train(tiny_training(tmp_path, trainer=tiny_trainer(steps=4)))
    assert final_state(run)["train"]["step"] == 4


def test_lanes_change_no_bit_of_what_is_trained(tmp_path: Path) -> None:
    after = []
    for lanes in (1, 4):
        trainer = build(
            tmp_path / str(lanes), steps=3, val_every=None, batch_size=4, portions=4,
            threads_per_portion=1, lanes=lanes, train=["encoder.*"],
        )  # fmt: skip
        trainer.fit()
        after.append(trainer.model.state_dict())
    assert all(torch.equal(value, after[1][name]) for name, value in after[0].items())


@pytest.mark.parametrize("portions", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_two_ranks_and_accumulation_are_one_batch(tmp_path: Path, portions: int | None) -> None:
    once = weights_after(train(decoder_only(config(tmp_path / "once", 8, 1))))
    run_distributed(_train_half if portions is None else _train_half_whole, tmp_path)
    assert_same(once, weights_after(tmp_path / "run"))
    initial: dict[str, Tensor] = first_weights(tiny_model(dropout=0.1)).state_dict()
    kept = [name for name in once if name.startswith("encoder.")]
    assert kept
    assert all(torch.equal(once[name], initial[name]) for name in kept)


def decoder_only(settings: TrainConfig, **changes: Any) -> TrainConfig:
    return replace(settings, trainer=replace(settings.trainer, train=["decoder.*"], **changes))


def _train_half(rank: int, folder: Path) -> None:
    train(decoder_only(config(folder, 2, 2)))


def _train_half_whole(rank: int, folder: Path) -> None:
    train(decoder_only(config(folder, 4, 1), portions=1))


def test_what_cannot_be_trained_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'decodr\.\*' matches no parameter"):
        train(training(tmp_path, ["decodr.*"]))
    settings = training(tmp_path, ["decoder.*"])
    with pytest.raises(ConfigError, match=r"trainer\.train=decoder keeps the encoder"):
        train(replace(settings, trainer=replace(settings.trainer, train="decoder")))
    assert not (tmp_path / "run/config.yaml").exists()
