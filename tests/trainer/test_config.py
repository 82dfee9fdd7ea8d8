"""Settings of the loop that make no sense are refused; values at the bounds are accepted."""

from dataclasses import asdict
from typing import Any

import pytest

from vae3d.errors import ConfigError
from vae3d.runtime.run_list import HIGHER_IS_BETTER
from vae3d.scoring.scores import better_of
from vae3d.trainer.config import ALLOWABLE, BEST_BY, RESTRICTED, TrainerConfig


@pytest.mark.parametrize(
    "edge",
    [
        {"steps": 1}, {"batch_size": 1}, {"accumulation": 1}, {"log_every": 1}, {"val_every": 1},
        {"checkpoint_every": 1}, {"epochs": 1}, {"val_cases": 1}, {"keep_best": 1},
        {"patience": 1}, {"resume": 1}, {"keep_checkpoints": 2}, {"warmup_steps": 0},
        {"weight_decay": 0.0}, {"max_nonfinite": 0}, {"lr": 1e-9}, {"clip_norm": 1e-9},
        {"timeout": 1e-9}, {"min_lr_ratio": 0.0}, {"min_lr_ratio": 1.0}, {"ema_decay": 0.001},
        {"ema_decay": 0.999}, {"allow_change": ["lr", "precision"]}, {"optimizer": "sgd"},
        {"train": "decoder"}, {"train": ["*.norm1.*"]}, {"best_by": "mae"},
        {"epochs": None, "val_cases": None, "patience": None, "resume": None},
    ],
    ids=str,
)  # fmt: skip
def test_values_at_the_bounds_are_accepted(edge: dict[str, Any]) -> None:
    config = TrainerConfig(**edge)
    assert {name: getattr(config, name) for name in edge} == edge


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *(({name: 0}, "must be at least 1, got 0") for name in (
            "steps", "batch_size", "accumulation", "log_every", "val_every", "checkpoint_every",
            "epochs", "val_cases", "keep_best", "patience", "resume",
        )),
        ({"keep_checkpoints": 1}, "must be at least 2, got 1"),
        *(({name: -1}, "must be at least 0, got -1") for name in (
            "warmup_steps", "weight_decay", "max_nonfinite",
        )),
        *(({name: 0.0}, r"must be above 0, got 0\.0") for name in ("lr", "clip_norm", "timeout")),
        ({"lr": float("nan")}, "must be above 0, got nan"),
        ({"min_lr_ratio": -0.1}, r"must be in \[0, 1\]"),
        ({"min_lr_ratio": 1.1}, r"must be in \[0, 1\]"),
        ({"ema_decay": 0.0}, r"must be in \(0, 1\)"),
        ({"ema_decay": 1.0}, r"must be in \(0, 1\)"),
        ({"allow_change": ["lr", "seed"]}, "may hold lr, .* got 'seed'"),
        ({"train": "decodr"}, "must be all, .* list of patterns, got .*did you mean 'decoder'"),
        ({"train": "dec*"}, r"must be .*type trainer\.train=\[dec\*\] for a pattern"),
        ({"train": []}, "must hold at least one pattern"),
        ({"optimizer": "lion"}, "must be one of adamw, adam, sgd, got 'lion'"),
        ({"best_by": "kl"}, "must be one of psnr, ssim, mse, mae, fsc, .* got 'kl'"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{next(iter(wrong))} {said}"):
        TrainerConfig(**wrong)


def test_defaults_are_pinned() -> None:
    """A run that does not set a key must stay the same."""
    assert asdict(TrainerConfig()) == {
        "steps": 2000, "train": "all", "latents": None, "halo": None, "epochs": None,
        "batch_size": 4, "accumulation": 1,
        "optimizer": "adamw", "portions": None, "threads_per_portion": None, "lanes": None,
        "lr": 2e-3, "weight_decay": 0.01, "warmup_steps": 100, "min_lr_ratio": 0.01,
        "clip_norm": 1.0, "ema_decay": None, "precision": "auto", "device": "auto",
        "memory": None, "compile": False, "log_every": 10, "val_every": None, "val_cases": 8,
        "checkpoint_every": 500, "keep_checkpoints": 2, "keep_best": 1, "best_by": "psnr",
        "patience": None, "max_nonfinite": 0, "timeout": 1800.0, "resume": None,
        "allow_change": [],
    }  # fmt: skip


def test_what_is_better_and_what_alters_a_run_are_pinned() -> None:
    assert BEST_BY == {
        "psnr": 1, "ssim": 1, "mse": -1, "mae": -1, "fsc": 1, "fsc_05": 1, "fsc_0143": 1,
    }  # fmt: skip
    assert {*HIGHER_IS_BETTER} == {name for name, sign in BEST_BY.items() if sign > 0}
    assert all(better_of(name) == sign for name, sign in BEST_BY.items())
    assert {*RESTRICTED} == {*ALLOWABLE, "optimizer", "ema_decay", "train", "halo"}
