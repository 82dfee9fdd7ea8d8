"""`check_changes`: which settings may change when a run resumes, and which may not."""

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny_training
from vae3d.data.config import CTConfig, SyntheticConfig
from vae3d.errors import RunError
from vae3d.run.changes import MAY_CHANGE, frozen
from vae3d.run.config import TrainConfig
from vae3d.run.saved import check_changes
from vae3d.settings.saved import describe, write_settings
from vae3d.trainer.config import ALLOWABLE, RESTRICTED

BEFORE = {"optimizer": "adamw", "lr": 0.002, "clip_norm": 1.0, "ema_decay": 0.9}


@pytest.fixture
def run(tmp_path: Path) -> TrainConfig:
    """The settings of a run whose `config.yaml` is written."""
    config = tiny_training(tmp_path, data=CTConfig(root="/scans"))
    config.trainer = dataclasses.replace(config.trainer, **BEFORE)
    config.folder.mkdir()
    write_settings(config, file_of(config))
    return config


def file_of(config: TrainConfig) -> Path:
    return config.folder / "config.yaml"


def changed(config: TrainConfig, group: str, **values: Any) -> TrainConfig:
    """The settings with other values of one group."""
    node = dataclasses.replace(getattr(config, group), **values)
    return dataclasses.replace(config, **{group: node})


def checked(
    config: TrainConfig, caplog: pytest.LogCaptureFixture, has_checkpoints: bool = True
) -> list[str]:
    """The messages of a check that passes."""
    with caplog.at_level(logging.INFO, logger="vae3d"):
        check_changes(file_of(config), config, has_checkpoints)
    return caplog.messages


def test_unchanged_settings_pass_silently(
    run: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    assert checked(run, caplog) == []


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (
            "data",
            {
                "root": "/moved", "workers": 3, "timeout": 9.0, "include": ["a*"],
                "exclude": ["b"], "label_maps": "keep",
                "cache_gib": 1.0, "store": "/stores", "codec": "zstd", "max_skipped": 0.5,
                "check": "off",
            },
        ),
        # A list is in place of the patterns.
        ("data", {"list": "/cases.csv"}),
        ("model", {"checkpointing": True}),
        (
            "trainer",
            {
                "steps": 99, "epochs": 3, "log_every": 7, "val_every": 7, "val_cases": 1,
                "checkpoint_every": 7, "keep_checkpoints": 3, "keep_best": 2, "best_by": "ssim",
                "patience": 4, "max_nonfinite": 1, "timeout": 9.0, "compile": True,
            },
        ),
        ("evaluation", {"media": ["png"], "metrics": ["psnr"]}),
    ],
)  # fmt: skip
def test_settings_that_do_not_affect_the_result_may_change(
    run: TrainConfig, caplog: pytest.LogCaptureFixture, group: str, values: dict[str, Any]
) -> None:
    if "root" in values:
        tested = {*values, "list"}
        assert tested == MAY_CHANGE["data"], "every key that may change is tested"
    assert checked(changed(run, group, **values), caplog) == []


@pytest.mark.parametrize(
    ("group", "values", "difference"),
    [
        ("data", {"window": (-500.0, 500.0)}, "data.window: [-1000.0,1000.0] -> [-500.0,500.0]"),
        ("data", {"val_fraction": 0.2}, "data.val_fraction: 0.1 -> 0.2"),
        ("patching", {"per_volume": 5}, "patching.per_volume: 4 -> 5"),
        ("model", {"latent_channels": 9}, "model.latent_channels: 4 -> 9"),
        ("loss", {"kl_weight": 1.0}, "loss.kl_weight: 1e-05 -> 1.0"),
        ("loss", {"terms": {"l1": 2.0}}, "loss.terms.l1: 1.0 -> 2.0"),
    ],
)
@pytest.mark.parametrize("has_checkpoints", [True, False])
def test_settings_that_define_a_run_may_not_change(
    run: TrainConfig,
    has_checkpoints: bool,
    group: str,
    values: dict[str, Any],
    difference: str,
) -> None:
    other = changed(run, group, **values)
    message = f"{run.folder}: belongs to other settings ({difference}); choose another name="
    with pytest.raises(RunError, match=re.escape(message)):
        check_changes(file_of(run), other, has_checkpoints)


def test_seed_and_kind_of_data_may_not_change(run: TrainConfig) -> None:
    with pytest.raises(RunError, match=r"\(seed: 0 -> 1\)"):
        check_changes(file_of(run), dataclasses.replace(run, seed=1), True)
    other = dataclasses.replace(run, data=SyntheticConfig())
    with pytest.raises(RunError, match=r"data\.kind: ct -> synthetic"):
        check_changes(file_of(run), other, True)


def test_all_differences_are_listed_at_the_same_time(run: TrainConfig) -> None:
    other = changed(changed(run, "loss", kl_weight=1.0), "model", latent_channels=9)
    with pytest.raises(RunError) as refused:
        check_changes(file_of(run), other, True)
    assert "model.latent_channels: 4 -> 9; loss.kl_weight: 1e-05 -> 1.0" in str(refused.value)


def test_a_restricted_setting_needs_permission_once_there_are_checkpoints(
    run: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    other = changed(run, "trainer", lr=1e-4, clip_norm=9.0)
    differences = "trainer.lr: 0.002 -> 0.0001; trainer.clip_norm: 1.0 -> 9.0"
    message = (
        f"{run.folder}: was trained with other settings ({differences}); add "
        "trainer.allow_change=[clip_norm,lr], restore them, or choose another name="
    )
    with pytest.raises(RunError, match=re.escape(message)):
        check_changes(file_of(run), other, has_checkpoints=True)
    with pytest.raises(RunError, match=re.escape("add trainer.allow_change=[clip_norm,lr], ")):
        check_changes(file_of(run), changed(other, "trainer", allow_change=["lr"]), True)
    assert checked(other, caplog, has_checkpoints=False) == [
        "changed for the coming steps: trainer.lr: 0.002 -> 0.0001",
        "changed for the coming steps: trainer.clip_norm: 1.0 -> 9.0",
    ]


def test_allowed_changes_are_logged(run: TrainConfig, caplog: pytest.LogCaptureFixture) -> None:
    other = changed(run, "trainer", lr=1e-4, precision="bf16", allow_change=["lr", "precision"])
    assert checked(other, caplog) == [
        "changed for the coming steps: trainer.lr: 0.002 -> 0.0001",
        "changed for the coming steps: trainer.precision: fp32 -> bf16",
    ]
    # Permission by itself changes nothing, and is not reported.
    caplog.clear()
    assert checked(changed(run, "trainer", allow_change=["lr"]), caplog) == []


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"optimizer": "sgd"}, "trainer.optimizer: adamw -> sgd"),
        ({"ema_decay": None}, "trainer.ema_decay: 0.9 -> null"),
        ({"train": "decoder"}, "trainer.train: all -> decoder"),
        (
            {"optimizer": "sgd", "lr": 1e-4},
            "trainer.lr: 0.002 -> 0.0001; trainer.optimizer: adamw -> sgd",
        ),
    ],
)
def test_optimizer_and_average_cannot_be_allowed_to_change(
    run: TrainConfig, values: dict[str, Any], difference: str
) -> None:
    other = changed(run, "trainer", **values, allow_change=[*ALLOWABLE])
    message = f"({difference}); restore them, or choose another name="
    with pytest.raises(RunError, match=re.escape(message)):
        check_changes(file_of(run), other, has_checkpoints=True)


def test_a_folder_without_settings_is_no_run(run: TrainConfig) -> None:
    file_of(run).unlink()
    with pytest.raises(RunError, match=r"no run here \(config\.yaml is missing\)"):
        check_changes(file_of(run), run, has_checkpoints=True)


def dotted(settings: dict[str, Any], prefix: str = "") -> list[str]:
    """All keys of a group, those of groups in it after their own."""
    keys = []
    for name, value in settings.items():
        keys.append(prefix + name)
        keys += dotted(value, f"{prefix}{name}.") if isinstance(value, dict) else []
    return keys


def test_every_key_that_may_change_exists(run: TrainConfig) -> None:
    settings = describe(run)
    for group, keys in MAY_CHANGE.items():
        assert keys <= {*dotted(settings[group])}
        assert keys.isdisjoint(dotted(frozen(settings)[group]))
    assert {*frozen(settings)} == {"seed", *MAY_CHANGE}
    assert {*RESTRICTED} <= {*settings["trainer"]}
