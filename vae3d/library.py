"""`train_3d` and `eval_3d`: the commands for any torch Dataset, from Python."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vae3d.autoencoder.start import Start, start_of
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands import COMMANDS
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.data.config import CustomConfig
from vae3d.data.custom import DatasetSource
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.logger.base import BorrowedLoggers, Logger
from vae3d.logger.config import LoggersConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.config import PATCHING, PatchingConfig
from vae3d.report.result import EvaluationResult
from vae3d.run.beginning import Extras
from vae3d.run.config import TrainConfig
from vae3d.runtime.messages import show_messages_unless_configured
from vae3d.runtime.run_folder import RunFolder
from vae3d.settings.command import Command
from vae3d.settings.given import (
    chosen_by_name,
    plain,
    sequence_of,
    settings_of_group,
)
from vae3d.trainer.config import TrainerConfig

Values = Mapping[str, Any]
"""Settings of a group as a dict, whose `kind` names the option that its keys change."""
Loggers = Logger | str | Values | LoggersConfig


def train_3d(
    dataset: Dataset[Any],
    folder: str | Path | None = None,
    val_dataset: Dataset[Any] | None = None,
    *,
    model: CustomVAE | VAEConfig | Values | str | None = None,
    init_from: str | Path | None = None,
    init_strict: bool = True,
    patching: PatchingConfig | Values | str | None = None,
    patch_options: Values | None = None,
    window: tuple[float, float] = (-1.0, 1.0),
    check: str = "auto",
    loss: LossConfig | Values | str | None = None,
    trainer: TrainerConfig | Values | str | None = None,
    evaluation: EvaluationConfig | Values | str | None = None,
    logger: Loggers | Sequence[Loggers] | None = None,
    device: torch.device | str | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    output: str | Path | None = None,
) -> CustomVAE:
    """Train on a map-style Dataset; return the model with the best weights, on the CPU.

    `model`, `patching`, `loss`, `trainer`, `evaluation` and `logger` are each the name of an
    option of the command line, a dict of its settings, or their dataclass.

    Args:
        dataset: yields tensors (C, D, H, W) or (C, H, W), or dicts with one under `image` or
            `volume`; their values span `window`.
        folder: the run folder; a call with the same settings resumes its training. `output` is
            another name for it.
        val_dataset: the validation cases; all of `dataset` is trained on then, and the fractions
            have no effect.
        model: the architecture, or a `CustomVAE` whose weights the training starts from; that
            model is not changed.
        init_from: weights to start from: a run, a folder of weights, or "hub:owner/name". The
            architecture is theirs, with the keys of a dict `model`, unless `model` names a whole
            one. With `init_strict=False` tensors that do not fit are left out.
        patching: None (whole volumes), "full" (every patch of a grid), "random_parts", or a dict
            of its settings; one without a `kind` is of random_parts.
        patch_options: fields of the patching, for example `{"size": (64, 64, 64)}`.
        check: what happens if values do not fit `window`: "auto" refuses what cannot be right and
            warns of the rest, "fail" refuses both, "warn" only warns, "off" does not check.
        logger: one or several; objects of `Logger` stay open after the training.
        device: where to compute, instead of the device in `trainer`.

    Raises:
        UserError: the settings, the data or the run folder cannot be used.
    """
    show_messages_unless_configured()
    command = COMMANDS["train"]
    path = _folder(folder, output)
    loggers, chosen_loggers = _loggers(command, logger)
    if val_dataset is not None:
        val_fraction = test_fraction = 0.0
    start, architecture, whole = _model(command, model, init_from)
    losses: LossConfig = settings_of_group(command, "loss", loss, "l1_kl")
    config = TrainConfig(
        name=path.name,
        runs_dir=str(path.parent),
        seed=seed,
        init_from=start.name if start else None if init_from is None else str(init_from),
        init_strict=init_strict,
        data=CustomConfig(
            val_fraction=val_fraction, test_fraction=test_fraction, window=window, check=check
        ),
        patching=_patching(command, patching, patch_options or {}),
        plugins=[*dict.fromkeys(architecture.plugins + losses.plugins)],
        model=architecture,
        loss=losses,
        trainer=_on(device, settings_of_group(command, "trainer", trainer, "default")),
        evaluation=settings_of_group(command, "evaluation", evaluation, "default"),
        logger=chosen_loggers,
    )
    config.typed = frozenset({"model"} if whole else ())
    source = DatasetSource(dataset, window, val_dataset=val_dataset)
    run = RunFolder(train(config, source, Extras(start, loggers)))
    which = "best" if run.weights("best").exists() else "latest"
    return CustomVAE.from_pretrained(run.weights(which))


def eval_3d(
    run: str | Path,
    dataset: Dataset[Any],
    *,
    weights: str = "auto",
    mode: str = "full",
    window: tuple[float, float] | None = None,
    check: str = "auto",
    output: str | Path | None = None,
    evaluation: EvaluationConfig | Values | str | None = None,
    logger: Loggers | Sequence[Loggers] | None = None,
    device: torch.device | str | None = None,
    allow: Sequence[str] = (),
) -> EvaluationResult:
    """Score a run of `train_3d`, or other weights, on every item of a Dataset; return the scores.

    Args:
        run: a run, a folder of weights, or "hub:owner/name", which needs an `output`.
        dataset: as for `train_3d`.
        weights: of a run: "best", "latest", or "auto" for the best ones where there are any.
        mode: `full` (whole volumes) or `patch` (patch by patch and stitched).
        window: that of the training unless it is given; `allow=["window"]` takes another one.
        check: as for `train_3d`.
        output: the folder of scores and pictures, by default one in the run.
        evaluation: the name of an option, a dict of settings, or an EvaluationConfig.
        logger: as for `train_3d`.
        device: where to compute.

    Raises:
        UserError: there is no such run, or the data do not fit its weights.
    """
    show_messages_unless_configured()
    command = COMMANDS["eval"]
    loggers, chosen_loggers = _loggers(command, logger)
    data = CustomConfig(check=check)
    if window is not None:
        data = replace(data, window=window)
    data.typed = frozenset() if window is None else frozenset({"window"})
    config = EvalConfig(
        run=str(run),
        weights=weights,
        mode=mode,
        split="all",
        output=None if output is None else str(output),
        data=data,
        evaluation=settings_of_group(command, "evaluation", evaluation, "default"),
        logger=chosen_loggers,
        device="auto" if device is None else plain(device),
        allow=[*allow],
    )
    return evaluate(config, DatasetSource(dataset, data.window), loggers)


def _folder(folder: str | Path | None, output: str | Path | None) -> Path:
    if (folder is None) == (output is None):
        raise ConfigError(
            'train_3d needs one folder for the run, as in train_3d(dataset, "runs/x")'
        )
    return Path(str(folder if output is None else output))


def _model(command: Command, model: Any, init_from: Any) -> tuple[Start | None, VAEConfig, bool]:
    """Return the weights to start from, the architecture, and whether all of it was chosen."""
    if isinstance(model, CustomVAE):
        if init_from is not None:
            raise ConfigError("model is a CustomVAE with weights of its own: drop init_from")
        return start_of(model), model.config, False
    return None, settings_of_group(command, "model", model, "small"), chosen_by_name(model)


def _patching(command: Command, patching: Any, options: Values) -> PatchingConfig:
    """Return the settings of the patches with further ones; None is whole volumes."""
    if isinstance(patching, PatchingConfig):
        name = next(name for name, kind in PATCHING.items() if type(patching) is kind)
        given: Values = {"kind": name, **asdict(patching)}
    else:
        given = patching if isinstance(patching, Mapping) else {"kind": patching or "none"}
    values = {"kind": "random_parts", **given, **options}
    chosen: PatchingConfig = settings_of_group(command, "patching", values, "none")
    return chosen


def _on(device: Any, trainer: TrainerConfig) -> TrainerConfig:
    return trainer if device is None else replace(trainer, device=plain(device))


def _loggers(command: Command, given: Any) -> tuple[Sequence[Logger], LoggersConfig]:
    """Return the logger objects, and the settings of the loggers that were given otherwise."""
    entries = sequence_of(given)
    objects = [entry for entry in entries if isinstance(entry, Logger)]
    chosen = LoggersConfig()
    for entry in entries:
        if not isinstance(entry, Logger):
            settings = settings_of_group(command, "logger", entry, "none")
            named = {name: value for name, value in vars(settings).items() if value is not None}
            named.pop("typed", None)
            chosen = replace(chosen, **named)
    return ([BorrowedLoggers(objects)] if objects else []), chosen
