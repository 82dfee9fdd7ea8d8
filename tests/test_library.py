"""train_3d and eval_3d on any torch Dataset, and torchrun from the command line."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tests.conftest import ROOT, tiny_model, tiny_trainer
from vae3d import CustomVAE, VAEConfig, eval_3d, train_3d
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.cli.jobs import checked_settings
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError, DataError, RunError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig
from vae3d.library import _loggers
from vae3d.logger.base import Logger
from vae3d.logger.config import LoggersConfig, WandbConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import LevelSpec
from vae3d.patching.config import RandomPatchesConfig
from vae3d.run.saved import load_config
from vae3d.runtime.differences import differences
from vae3d.settings.saved import describe
from vae3d.trainer.config import TrainerConfig


class Blobs(Dataset[Any]):
    """Images in [0, 1] of one shape, bare or in a dict."""

    def __init__(self, shape: tuple[int, ...], key: str | None = None, count: int = 5) -> None:
        self.shape, self.key, self.count = shape, key, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor | dict[str, Tensor]:
        image = torch.rand(self.shape, generator=torch.Generator().manual_seed(index))
        return {self.key: image} if self.key else image


def test_defaults_work() -> None:
    assert CustomVAE()(torch.zeros(1, 1, 8, 8, 8)).reconstruction.shape == (1, 1, 8, 8, 8)
    flat = CustomVAE(VAEConfig(spatial_dims=2))
    assert flat(torch.zeros(1, 1, 9, 8)).reconstruction.shape == (1, 1, 9, 8)


@pytest.mark.parametrize("patching", [None, "full", "random_parts"])
@pytest.mark.parametrize(("shape", "key"), [((1, 9, 8, 10), None), ((1, 17, 12), "image")])
def test_any_dataset(
    tmp_path: Path, patching: str | None, shape: tuple[int, ...], key: str | None
) -> None:
    model = train_3d(
        Blobs(shape, key),
        tmp_path / "run",
        model=tiny_model(len(shape) - 1),
        patching=patching,
        patch_options={"size": (8,)} if patching else None,
        window=(0.0, 1.0),
        trainer=tiny_trainer(steps=2, val_every=2),
    )
    assert model(torch.zeros(1, *shape)).reconstruction.shape == (1, *shape)
    quiet = EvaluationConfig(media=[])
    for mode in ("full", "patch"):
        result = eval_3d(
            tmp_path / "run", Blobs(shape, key, 3), mode=mode, window=(0.0, 1.0), evaluation=quiet
        )
        assert len(result.cases) == 3
        assert 0 < result.mean("psnr") < 40


def test_another_window_than_that_of_the_training_is_refused(tmp_path: Path) -> None:
    """Without a window that of the training is used; the default of `train_3d` is a window too."""
    run, data = tmp_path / "run", Blobs((1, 8, 8, 8))
    train_3d(
        data,
        run,
        model=tiny_model(),
        window=(0.0, 1.0),
        trainer=tiny_trainer(steps=1, val_every=1),
    )
    quiet = EvaluationConfig(media=[], report=False)
    result = eval_3d(run, data, evaluation=quiet)
    assert {(case.low, case.high) for case in result.cases} == {(0.0, 1.0)}
    assert (run / "report/full/scores.csv").exists()
    for window in ((-1.0, 1.0), (0.0, 2.0)):
        with pytest.raises(ConfigError, match=r"trained with data\.window=\[0, 1\] a\.u\."):
            eval_3d(run, data, window=window, evaluation=quiet)
    wide = eval_3d(run, data, window=(0.0, 2.0), evaluation=quiet, allow=["window"])
    assert {(case.low, case.high) for case in wide.cases} == {(0.0, 2.0)}
    assert len([*run.glob("report/full-custom-*")]) == 1
    eval_3d(run, _Brighter(), evaluation=quiet)
    assert len([*run.glob("report/full-custom-*")]) == 2


def test_values_that_do_not_fit_are_checked_as_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, reason = Blobs((1, 8, 8, 8)), "% of the window"
    values: dict[str, Any] = {
        "model": tiny_model(),
        "trainer": tiny_trainer(steps=1),
        "window": (0.0, 1000.0),
        "evaluation": QUIET,
    }
    with pytest.raises(DataError, match=reason):
        train_3d(data, tmp_path / "run", **values)
    train_3d(data, tmp_path / "run", check="warn", **values)
    assert reason in caplog.text
    with pytest.raises(DataError, match=reason):
        eval_3d(tmp_path / "run", data, evaluation=QUIET, check="fail")
    caplog.clear()
    eval_3d(tmp_path / "run", data, evaluation=QUIET, check="off")
    assert reason not in caplog.text
    with pytest.raises(ConfigError, match=r"data\.check must be one of"):
        train_3d(data, tmp_path / "other", check="never", **values)


class _Brighter(Blobs):
    def __init__(self) -> None:
        super().__init__((1, 8, 8, 8))

    def __getitem__(self, index: int) -> Tensor:
        item = super().__getitem__(index + 50)
        assert isinstance(item, Tensor)
        return item


def test_wrong_datasets_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"outside data\.window"):
        train_3d(_Scaled(), tmp_path / "a", model=tiny_model(), trainer=tiny_trainer())
    with pytest.raises(DataError, match="neither image nor volume"):
        train_3d(Blobs((1, 8, 8, 8), key="x"), tmp_path / "b", trainer=tiny_trainer())
    with pytest.raises(
        ConfigError, match="patching has no option 'some', choose from full, none, random_parts"
    ):
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "c", patching="some")
    with pytest.raises(ConfigError, match=r"model\.in_channels"):
        train_3d(Blobs((2, 8, 8, 8)), tmp_path / "d", model=tiny_model(), trainer=tiny_trainer())


class _Scaled(Blobs):
    def __init__(self) -> None:
        super().__init__((1, 8, 8, 8))

    def __getitem__(self, index: int) -> Tensor:
        item = super().__getitem__(index)
        assert isinstance(item, Tensor)
        return item * 255


QUIET: dict[str, Any] = {"media": []}
STEPS: dict[str, Any] = {"steps": 2, "batch_size": 2, "val_every": 2, "log_every": 1}
TINY: dict[str, Any] = {
    "levels": [{"channels": 4}, {"channels": 8, "stride": (2,)}],
    "patch": (1,),
    "latent_channels": 3,
}


class _Recorded(Logger):
    """Remembers what it was sent."""

    def __init__(self) -> None:
        self.logged: list[tuple[int, str, set[str]]] = []
        self.closed = False

    def log(self, step: int, scores: Mapping[str, float], split: str = "train") -> None:
        self.logged.append((step, split, {*scores}))

    def close(self, failed: bool = False) -> None:
        self.closed = True


def test_every_group_is_a_dict_a_dataclass_or_a_name(tmp_path: Path) -> None:
    data = Blobs((1, 16, 16, 16))
    logger = _Recorded()
    train_3d(
        data,
        tmp_path / "dicts",
        _Brighter(),
        model=TINY,
        patching={"size": 8, "per_volume": 2},
        loss={"terms": {"mse": 1, "l1": 0.5}, "kl_weight": 1e-4},
        trainer={**STEPS, "device": torch.device("cpu"), "precision": "fp32"},
        evaluation={**QUIET, "inference": {"overlap": np.float32(0.5)}},
        logger=logger,
        window=(0.0, 1.0),
    )
    config = load_config(tmp_path / "dicts/config.yaml")
    levels = [LevelSpec(4), LevelSpec(8, stride=(2,))]
    assert config.model == VAEConfig(3, levels=levels, patch=(1,), latent_channels=3)
    assert config.patching == RandomPatchesConfig(size=(8, 8, 8), per_volume=2)
    assert config.loss == LossConfig({"mse": 1, "l1": 0.5}, 1e-4)
    assert (config.trainer.steps, config.trainer.device) == (2, "cpu")
    assert config.evaluation.inference.overlap == 0.5
    assert [split for _, split, _ in logger.logged] == ["train", "train", "val"]
    assert not logger.closed
    train_3d(
        data,
        tmp_path / "dataclasses",
        _Brighter(),
        model=VAEConfig(levels=levels, patch=(1,), latent_channels=3),
        patching=RandomPatchesConfig(size=(8,), per_volume=2),
        loss=LossConfig({"mse": 1, "l1": 0.5}, 1e-4),
        trainer=TrainerConfig(**STEPS, precision="fp32"),
        evaluation=EvaluationConfig(media=[], inference=InferenceConfig(overlap=0.5)),
        device="cpu",
        window=(0.0, 1.0),
    )
    other = describe(load_config(tmp_path / "dataclasses/config.yaml"))
    assert differences({**describe(config), "name": "dataclasses"}, other) == []
    result = eval_3d(
        tmp_path / "dicts", data, evaluation=QUIET, logger=[logger], device=torch.device("cpu")
    )
    assert len(result.cases) == 5
    assert logger.logged[-1][1] == "eval_full"
    assert not logger.closed


def test_an_option_is_named_alone_or_as_the_kind_of_a_dict(tmp_path: Path) -> None:
    for name, model in (("a", "tiny"), ("b", {"kind": "tiny", "latent_channels": 2})):
        train_3d(
            Blobs((1, 8, 8, 8)),
            tmp_path / name,
            model=model,
            loss="l1_ssim_kl",
            trainer={"kind": "debug", "steps": 1, "device": "cpu"},
            evaluation=QUIET,
            logger="none",
            window=(0.0, 1.0),
        )
        config = load_config(tmp_path / name / "config.yaml")
        assert config.model.latent_channels == (4 if name == "a" else 2)
        assert [level.channels for level in config.model.levels] == [16, 32]
        assert "ssim" in config.loss.terms
        assert config.trainer.steps == 1


def test_loggers_are_names_dicts_or_dataclasses(tmp_path: Path) -> None:
    command = COMMANDS["train"]
    for given in ("wandb", {"wandb": {}}, LoggersConfig(wandb=WandbConfig()), ["none", "wandb"]):
        assert _loggers(command, given) == ([], LoggersConfig(wandb=WandbConfig()))
    objects, chosen = _loggers(command, [_Recorded(), "tensorboard", {"wandb": {"project": "ct"}}])
    assert len(objects) == 1
    assert chosen.tensorboard is not None
    assert chosen.wandb == WandbConfig(project="ct")


@pytest.mark.parametrize(
    ("group", "given"),
    [
        ("trainer", {"learning_rate": 1}),
        ("trainer", {"kl_weight": 1}),
        ("trainer", {"steps": 0}),
        ("trainer", {"stepz": 4}),
        ("model", {"latent_dim": 4}),
        ("model", {"levels": [{"chanels": 4}]}),
        ("loss", {"terms": {"l3": 1}}),
        ("evaluation", {"inference": {"overlaps": 0.5}}),
        ("logger", {"wandb": {"projekt": "x"}}),
        ("patching", {"sizes": 8}),
        ("patching", {"kind": "random_parts", "overlap": 0.1}),
    ],
)
def test_a_wrong_key_raises_the_error_of_the_command_line(
    tmp_path: Path, group: str, given: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as refused:
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "run", **{group: given})
    values: dict[str, Any] = {**given}
    option = {"patching": ["patching=random_parts"], "logger": ["logger=wandb"]}.get(group, [])
    values.pop("kind", None)
    words = [f"{key}={value}" for key, value in _typed(values, group)]
    with pytest.raises(ConfigError) as typed:
        _checked(*option, *words)
    assert str(refused.value) == str(typed.value)
    assert not (tmp_path / "run").exists()


def _checked(*words: str) -> None:
    line = Line.of(COMMANDS["train"], words)
    line.check()
    checked_settings(line)


def _typed(values: Any, above: str) -> Iterator[tuple[str, Any]]:
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _typed(value, f"{above}.{key}")
        else:
            yield f"{above}.{key}", value


def test_what_is_no_setting_is_refused(tmp_path: Path) -> None:
    data = Blobs((1, 8, 8, 8))
    for group in ("model", "loss", "trainer", "evaluation", "logger"):
        with pytest.raises(ConfigError, match=f"{group} must be the name of an option, a dict"):
            train_3d(data, tmp_path / "run", **{group: 3})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="model has no option 'smal', did you mean 'small'"):
        train_3d(data, tmp_path / "run", model="smal")
    with pytest.raises(ConfigError, match=r"trainer\.device must be one of .*mps"):
        train_3d(data, tmp_path / "run", device=torch.device("mps"))
    with pytest.raises(ConfigError, match="one folder for the run"):
        train_3d(data)
    with pytest.raises(ConfigError, match="drop init_from"):
        train_3d(data, tmp_path / "run", model=CustomVAE(tiny_model()), init_from="runs/x")


def test_the_earlier_keyword_of_the_folder_works(tmp_path: Path) -> None:
    train_3d(
        Blobs((1, 8, 8, 8)), output=tmp_path / "run", model=tiny_model(), window=(0.0, 1.0),
        trainer=tiny_trainer(steps=1, val_every=1), evaluation=QUIET,
    )  # fmt: skip
    assert (tmp_path / "run/config.yaml").exists()


def test_a_validation_set_holds_out_its_cases_and_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values: dict[str, Any] = {"model": tiny_model(), "trainer": tiny_trainer(steps=2, val_every=2)}
    values |= {"evaluation": QUIET, "window": (0.0, 1.0)}
    held_out = _Brighter()
    train_3d(Blobs((1, 8, 8, 8)), tmp_path / "run", held_out, **values)
    rows = (tmp_path / "run/cases.csv").read_text().splitlines()[1:]
    splits = {row.split(",")[0]: row.split(",")[1] for row in rows}
    assert {name for name, split in splits.items() if split == "val"} == {
        f"val_{index:05d}" for index in range(5)
    }
    assert sum(split == "train" for split in splits.values()) == 5
    assert "held-out cases" not in caplog.text
    for which in ("best", "latest"):
        assert (
            json.loads((tmp_path / f"run/weights/{which}/config.json").read_text())["split_rule"][
                "kind"
            ]
            == "list"
        )
    # The score of the best weights is that of exactly these cases.
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    result = eval_3d(tmp_path / "run", held_out, evaluation={**QUIET, "report": False})
    assert summary["best_score"] == pytest.approx(result.mean("psnr"), rel=1e-5)
    with pytest.raises(DataError, match="val_dataset is empty"):
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "b", Blobs((1, 8, 8, 8), count=0), **values)
    with pytest.raises(DataError, match="item 0 of val_dataset has keys"):
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "c", Blobs((1, 8, 8, 8), "x"), **values)


def test_a_model_is_trained_further_and_not_changed(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = CustomVAE(tiny_model(latent_channels=2))
    before = copy.deepcopy(model.state_dict())
    values: dict[str, Any] = {"evaluation": QUIET, "window": (0.0, 1.0)}
    trainer = tiny_trainer(steps=2, checkpoint_every=1)
    for _ in range(2):  # the same cell of a notebook again
        trained = train_3d(
            Blobs((1, 8, 8, 8)), tmp_path / "run", model=model, trainer=trainer, **values
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    start = CheckpointFolder(tmp_path / "run/checkpoints").load(0).state["model"]
    assert all(torch.equal(value, before[name]) for name, value in start.items())
    assert trained.config == model.config
    model.save_pretrained(tmp_path / "weights")
    described = json.loads((tmp_path / "weights/config.json").read_text())
    assert trained.origin is not None
    assert trained.origin.started_from[0].digest == described["digest"]
    # The same weights from a folder train the same.
    train_3d(
        Blobs((1, 8, 8, 8)), tmp_path / "other", init_from=tmp_path / "weights", trainer=trainer,
        **values,
    )  # fmt: skip
    one, other = (
        CheckpointFolder(tmp_path / name / "checkpoints").load(2).state
        for name in ("run", "other")
    )
    assert all(torch.equal(value, other["model"][n]) for n, value in one["model"].items())
    next(model.parameters()).data.add_(1)
    with pytest.raises(RunError, match=r"belongs to other settings .*init_from"):
        train_3d(Blobs((1, 8, 8, 8)), tmp_path / "run", model=model, trainer=trainer, **values)


def test_a_dict_changes_keys_of_the_weights(tmp_path: Path) -> None:
    CustomVAE(tiny_model(latent_channels=2)).save_pretrained(tmp_path / "weights")
    model = train_3d(
        Blobs((1, 8, 8, 8)), tmp_path / "run", init_from=tmp_path / "weights",
        model={"dropout": 0.25}, trainer=tiny_trainer(steps=1, val_every=1), window=(0.0, 1.0),
        evaluation=QUIET,
    )  # fmt: skip
    assert (model.config.dropout, model.config.latent_channels) == (0.25, 2)


@pytest.mark.slow
def test_torchrun(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone",
         "--nproc-per-node", "2", "-m", "vae3d", "train", "trainer=debug", "model=tiny",
         "data.shape=[16,16,16]",
         "data.count=5", "evaluation.media=[]"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/vae3d/summary.json").exists()
    assert done.stderr.count("trained 8 steps") == 1
