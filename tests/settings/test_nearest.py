"""For a wrong key the key that was meant is suggested."""

import pytest

from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError
from vae3d.settings import nearest
from vae3d.settings.groups import groups_of
from vae3d.settings.nearest import USUAL_WORDS, nearest_key
from vae3d.settings.saved import translate_renamed_keys
from vae3d.settings.schema import settings_of


def known(command: str) -> list[str]:
    return [s.key for s in settings_of(COMMANDS[command])] + [*groups_of(COMMANDS[command])]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("learning_rate", "trainer.lr"),
        ("trainer.learning_rate", "trainer.lr"),
        ("epochs", "trainer.epochs"),
        ("bs", "trainer.batch_size"),
        ("batch", "trainer.batch_size"),
        ("gpus", "trainer.device"),
        ("amp", "trainer.precision"),
        ("latent_dim", "model.latent_channels"),
        ("z_channels", "model.latent_channels"),
        ("in_ch", "model.in_channels"),
        ("kl", "loss.kl_weight"),
        ("beta", "loss.kl_weight"),
        ("device", "trainer.device"),
        ("lr", "trainer.lr"),
        ("model.lr", "trainer.lr"),
        ("Trainer.LR", "trainer.lr"),
        ("trainer.batch-size", "trainer.batch_size"),
        ("num_workers", "data.workers"),
        ("patch_size", "patching.size"),
        ("data.spacin", "data.spacing"),
        ("trainer.stpes", "trainer.steps"),
        ("pathcing.size", "patching.size"),
        ("evaluation.inferense.overlap", "evaluation.inference.overlap"),
        ("model.atention.window", "model.attention.window"),
        ("trainer.learing_rate", "trainer.lr"),
        ("random_crop_size", "patching.size"),
        ("early_stop_patience", "trainer.patience"),
    ],
)
def test_training_words(typed: str, meant: str) -> None:
    assert nearest_key(typed, known("train")) == meant


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("encode", "out_dir", "output"),
        ("encode", "device_", "device"),
        ("eval", "checkpoint", "run"),
        ("decode", "precison", "precision"),
        ("reconstruct", "overwrite", "existing"),
        ("info", "roi_size", "size"),
        ("prepare", "num_workers", "data.workers"),
    ],
)
def test_words_of_other_commands(command: str, typed: str, meant: str) -> None:
    assert nearest_key(typed, known(command)) == meant


def test_nothing_near_is_nothing() -> None:
    assert nearest_key("qqqqqq", known("train")) is None


def test_the_usual_words_lead_to_keys() -> None:
    every = {
        key
        for name in COMMANDS
        for key in (*known(name), "loss.terms.l1", "loss.terms.ssim", "loss.terms.mse")
    }
    for word, keys in USUAL_WORDS.items():
        assert {*keys} & every, word
        assert word not in every, f"{word} is a key itself"


def test_a_renamed_key_is_translated_in_files_and_refused_on_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(nearest.RENAMED, "trainer.rate", "trainer.lr")
    monkeypatch.setitem(nearest.RENAMED, "old", "trainer.steps")
    saved = {"trainer": {"rate": 0.1}, "old": 7}
    assert translate_renamed_keys(saved) == {"trainer": {"lr": 0.1, "steps": 7}}
    with pytest.raises(ConfigError, match=r"trainer\.rate is called trainer\.lr now"):
        Line.of(COMMANDS["train"], ["trainer.rate=0.1"]).check()
