"""`train_3d` and `eval_3d`: the commands for any torch Dataset, from Python."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train import TrainConfig
from vae3d.commands.train_run import train
from vae3d.data.config import CustomConfig
from vae3d.data.custom import DatasetSource
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.config import PATCHING
from vae3d.report.result import EvaluationResult
from vae3d.runtime.messages import show_messages_unless_configured
from vae3d.runtime.run_folder import RunFolder
from vae3d.trainer.config import TrainerConfig


def train_3d(
    dataset: Dataset[Any],
    output: str | Path,
    *,
    model: VAEConfig | None = None,
    patching: str | None = None,
    patch_options: dict[str, Any] | None = None,
    window: tuple[float, float] = (-1.0, 1.0),
    loss: LossConfig | None = None,
    trainer: TrainerConfig | None = None,
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> CustomVAE:
    """Train on a map-style Dataset; return the model with the best weights, on the CPU.

    Args:
        dataset: yields tensors (C, D, H, W) or (C, H, W), or dicts with one under `image` or
            `volume`; their values span `window`.
        output: the run folder; a call with the same settings resumes its training.
        patching: None (whole volumes), "full" (every patch of a grid) or "random_parts".
        patch_options: fields of the patching, for example `{"size": (64, 64, 64)}`.

    Raises:
        UserError: the settings, the data or the run folder cannot be used.
    """
    show_messages_unless_configured()
    path = Path(output)
    source = DatasetSource(dataset, window)
    model, loss = model or VAEConfig(), loss or LossConfig()
    data = CustomConfig(val_fraction=val_fraction, test_fraction=test_fraction, window=window)
    config = TrainConfig(
        name=path.name,
        runs_dir=str(path.parent),
        seed=seed,
        data=data,
        patching=_patching(patching, patch_options or {}),
        plugins=[*dict.fromkeys(model.plugins + loss.plugins)],
        model=model,
        loss=loss,
        trainer=trainer or TrainerConfig(),
    )
    folder = RunFolder(train(config, source))
    which = "best" if folder.weights("best").exists() else "latest"
    return CustomVAE.from_pretrained(folder.weights(which))


def eval_3d(
    run: str | Path,
    dataset: Dataset[Any],
    *,
    mode: str = "full",
    window: tuple[float, float] | None = None,
    output: str | Path | None = None,
    evaluation: EvaluationConfig | None = None,
    allow: Sequence[str] = (),
) -> EvaluationResult:
    """Score a run of `train_3d` on every item of a Dataset; return the scores.

    `mode` is `full` (whole volumes) or `patch` (patch by patch and stitched). `window` is that of
    the training unless it is given; `allow=["window"]` takes another one.

    Raises:
        UserError: there is no such run, or the data do not fit its weights.
    """
    show_messages_unless_configured()
    data = CustomConfig() if window is None else CustomConfig(window=window)
    data.typed = frozenset() if window is None else frozenset({"window"})
    config = EvalConfig(
        run=str(run),
        mode=mode,
        split="all",
        output=None if output is None else str(output),
        data=data,
        evaluation=evaluation or EvaluationConfig(),
        allow=[*allow],
    )
    return evaluate(config, DatasetSource(dataset, data.window))


def _patching(name: str | None, options: dict[str, Any]) -> Any:
    if (name or "none") not in PATCHING:
        raise ConfigError(f"patching must be None, 'full' or 'random_parts', got {name!r}")
    try:
        return replace(PATCHING[name or "none"](), **options)
    except TypeError as error:
        raise ConfigError(f"patch_options do not fit patching={name!r}: {error}") from error
