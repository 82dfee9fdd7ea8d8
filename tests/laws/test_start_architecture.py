"""Which network a training that starts from weights has, and what does not fit."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import tiny_model, vae3d
from tests.laws.starting import (
    by_hand,
    saved_weights,
    training,
    weights_at,
)
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.cli.jobs import checked_settings
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.model.config import NORMS, LevelSpec, VAEConfig
from vae3d.run.beginning import Asked
from vae3d.run.saved import asked, load_config
from vae3d.runtime.seeding import seed_global

WIDE = tiny_model(levels=[LevelSpec(4), LevelSpec(12, stride=(2,))])


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights with an architecture that is no default, of an MR training."""
    return saved_weights(tmp_path)


def test_tensors_that_do_not_fit_are_listed_and_left_out_only_when_asked(
    tmp_path: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = by_hand(VAEConfig(latent_channels=5), "latent_channels")
    config = training(tmp_path, weights, model=model)
    with pytest.raises(RunError) as refused:
        train(config)
    own = CustomVAE.from_pretrained(weights)
    other = CustomVAE(replace(own.config, latent_channels=5)).state_dict()
    misfits = {n for n, value in own.state_dict().items() if value.shape != other[n].shape}
    message = str(refused.value)
    assert misfits
    assert f"{len(misfits)} tensors do not fit" in message
    assert "init_strict=false" in message
    assert all(f"{name} (" in message for name in misfits)
    assert not (tmp_path / "run").exists()

    run = train(replace(config, init_strict=False, model=model))
    assert caplog.text.count(f"{len(misfits)} tensors of {weights} are left out") == 1
    seed_global(config.seed, "model")
    fresh = CustomVAE(replace(own.config, latent_channels=5)).state_dict()
    for name, value in weights_at(run, 0).items():
        expected = fresh if name in misfits else own.state_dict()
        assert torch.equal(value, expected[name]), name
    record = json.loads((run / "start.json").read_text())
    assert {*record["left_out"]} == misfits


def test_missing_and_additional_tensors_are_named(tmp_path: Path, weights: Path) -> None:
    wide = replace(WIDE, levels=[*WIDE.levels, LevelSpec(8, stride=(2,))], norm="batch")
    config = training(tmp_path, weights, model=wide)
    config.typed = frozenset({"model"})
    with pytest.raises(RunError) as refused:
        train(config)
    message = str(refused.value)
    assert "(missing)" in message
    assert "12 x 4 x 3 x 3 x 3 instead of" in message or "instead of 12 x 4 x" in message
    config = training(tmp_path, weights, model=VAEConfig(levels=[LevelSpec(4)], patch=(2,)))
    config.typed = frozenset({"model"})
    with pytest.raises(RunError, match=r"\(not in the architecture\)"):
        train(config)
    strange = VAEConfig(levels=[LevelSpec(10)], patch=(4,), latent_channels=7, norm="batch")
    config = training(tmp_path, weights, model=strange, init_strict=False)
    config.typed = frozenset({"model"})
    with pytest.raises(RunError, match=r"tensors do not fit .*architecture") as refused:
        train(config)
    assert "init_strict" not in str(refused.value)


def test_a_typed_key_replaces_one_of_the_weights(tmp_path: Path, weights: Path) -> None:
    levels = [LevelSpec(16), LevelSpec(4, stride=(2,))]
    model = by_hand(VAEConfig(levels=levels, dropout=0.1), "levels.1.channels", "dropout")
    config = training(tmp_path, weights, model=model, init_strict=False)
    run = train(config)
    saved = load_config(run / "config.yaml").model
    assert [level.channels for level in saved.levels] == [4, 4]
    assert (saved.dropout, saved.latent_channels) == (0.1, 3)
    train(config)  # the same command again
    missing = by_hand(VAEConfig(levels=[*levels, LevelSpec(8)]), "levels.2.channels")
    with pytest.raises(ConfigError, match=r"model\.levels\.2\.channels is not in"):
        train(training(tmp_path / "b", weights, model=missing))


def test_other_axes_and_channels_are_one_line_before_any_work(
    tmp_path: Path, weights: Path
) -> None:
    flat = SyntheticConfig(shape=(16, 16), count=6, store=str(tmp_path / "store"))
    with pytest.raises(ConfigError, match="these weights are for 3D data, these are 2D"):
        train(training(tmp_path, weights, data=flat))
    CustomVAE(tiny_model(in_channels=2)).save_pretrained(tmp_path / "two")
    data = SyntheticConfig(shape=(16, 16, 16), count=6, store=str(tmp_path / "store"))
    with pytest.raises(ConfigError, match=r"images of 2 channels, these data have 1; .*in_chan"):
        train(training(tmp_path, tmp_path / "two", data=data))
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "run").exists()


def test_what_is_no_weights_is_named(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "text").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="text: is a file, not a folder of weights; vae3d import"):
        train(training(tmp_path, tmp_path / "text"))
    for name in (tmp_path / "nowhere", tmp_path / "empty", "x" * 300):
        with pytest.raises(RunError, match="no run here"):
            train(training(tmp_path, name))
    (weights / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not a description of vae3d weights"):
        train(training(tmp_path, weights))
    assert not (tmp_path / "run").exists()


def chosen(*words: str) -> Asked:
    line = Line.of(COMMANDS["train"], ["init_from=runs/x", *words])
    line.check()
    return asked(checked_settings(line)[0])


def test_only_what_is_typed_replaces_the_architecture_of_the_weights() -> None:
    base = tiny_model(latent_channels=3)
    assert chosen().architecture(base) == base
    # An experiment is a recipe: its architecture is not typed.
    assert chosen("+experiment=ct_patches", "data.root=x").architecture(base) == base
    assert chosen("model=base").architecture(base) == composed("train", "model=base").model
    assert chosen("model=small").architecture(base) == VAEConfig()
    # A key with the value of its default is typed too.
    assert chosen("model.latent_channels=4").architecture(base) == tiny_model(latent_channels=4)
    levels = chosen("model.levels.1.channels=6", "model.attention.window=4").architecture(base)
    assert [level.channels for level in levels.levels] == [4, 6]
    assert levels.attention.window == (4,)


def test_a_sweep_over_weights(tmp_path: Path, weights: Path) -> None:
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "other")
    small = ("trainer=debug", "trainer.steps=1", "data.shape=[16,16,16]", "data.count=4")
    done = vae3d(
        "train", "-m", "init_from=weights,other", "name=sweep", *small, "evaluation.media=[]",
        "patching.size=[8]", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, channels in (("weights", 3), ("other", 4)):
        config = load_config(tmp_path / f"runs/sweep/init_from={name}/config.yaml")
        assert (config.init_from, config.model.latent_channels) == (name, channels)
    with (tmp_path / "runs/sweep/sweep.csv").open() as file:
        assert {row["init_from"] for row in csv.DictReader(file)} == {"weights", "other"}


def test_weights_of_a_plugin_name_it(tmp_path: Path, weights: Path) -> None:
    config = json.loads((weights / "config.json").read_text())
    config["architecture"]["norm"] = "their_norm"
    config["plugins"] = ["their_plugin"]
    (weights / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"add plugins=\[their_plugin\]"):
        train(training(tmp_path, weights))


def test_weights_of_a_registered_norm_train(tmp_path: Path) -> None:
    @NORMS.register("test_start_norm")
    def norm(spatial_dims: int, channels: int, groups: int) -> torch.nn.Module:
        return torch.nn.GroupNorm(1, channels)

    try:
        CustomVAE(tiny_model(norm="test_start_norm")).save_pretrained(tmp_path / "weights")
        run = train(training(tmp_path, tmp_path / "weights", plugins=[__name__]))
        assert load_config(run / "config.yaml").model.norm == "test_start_norm"
    finally:
        NORMS.remove("test_start_norm")
