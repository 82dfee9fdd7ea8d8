"""`vae3d train`: builds everything a training needs from its settings, and fits."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vae3d.config import TrainConfig, describe, differences, load_config, save_config
from vae3d.data.build import open_cases
from vae3d.data.loader import PatchLoader
from vae3d.data.patches import PatchDataset
from vae3d.data.source import CaseSource
from vae3d.errors import ConfigError, DataError, RunError
from vae3d.evaluation.evaluator import Evaluator
from vae3d.inference import Reconstructor
from vae3d.logger import build_loggers
from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.console import ConsoleLogger, ProgressBar, announce
from vae3d.logger.csv import CsvLogger
from vae3d.loss.objective import Objective
from vae3d.model.vae import CustomVAE
from vae3d.model.weights import save_weights
from vae3d.patching.samplers import WholeVolume
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.files import write_json
from vae3d.runtime.precision import Precision, choose_precision
from vae3d.runtime.run_folder import RunFolder
from vae3d.runtime.seeding import seed_global
from vae3d.trainer.checkpoint import CheckpointFolder
from vae3d.trainer.trainer import Trainer, total_steps

MAY_CHANGE = {
    "data": {"root", "list", "workers", "timeout", "cache_gib", "store", "codec"},
    "model": {"checkpointing"},
    "patching": set[str](),
    "loss": set[str](),
}
"""Groups whose settings a run keeps, and the keys of each that do not matter to its result."""


def train(config: TrainConfig, source: CaseSource | None = None) -> Path:
    """Trains as the settings say, or goes on where the run stopped; gives the run folder.

    Raises:
        UserError: settings, data or run folder do not allow it; nothing has been written then.
    """
    with start_distributed(config.trainer.device) as distributed:
        return Training(config, source, distributed).run()


@dataclass(frozen=True)
class Plan:
    """The cases of a training and where it stands, known before anything is written."""

    val: list[int]
    loader: PatchLoader
    checkpoint: dict[str, Any] | None


class Training:
    """One training from its settings to its weights."""

    def __init__(
        self, config: TrainConfig, source: CaseSource | None, distributed: Distributed
    ) -> None:
        self.distributed = distributed
        self.cases = open_cases(config.data, ProgressBar("prepare", distributed.is_main), source)
        self.config = fitted(config, self.cases.spatial_dims, distributed)
        self.folder = RunFolder(config.folder)
        self.checkpoints = CheckpointFolder(self.folder.checkpoints)

    def run(self) -> Path:
        """Trains to the end."""
        seed_global(self.config.seed, "model")
        model = CustomVAE(self.config.model)
        plan = self._plan()
        total = total_steps(self.config.trainer, plan.loader)
        if plan.checkpoint and plan.checkpoint["train"]["step"] >= total:
            self._say(
                f"{self.folder.path} is finished at step {total}; extend it with a larger "
                f"trainer.{'epochs' if self.config.trainer.epochs else 'steps'}"
            )
            return self.folder.path
        self.distributed.barrier()
        if self.distributed.is_main:
            save_config(self.config, self.folder.config)
        self._fit(model, plan, total)
        return self.folder.path

    def _plan(self) -> Plan:
        self._check_folder()
        train = self.cases.survey("train", self._say)
        val = self.cases.survey("val", self._say)[: self.config.trainer.val_cases].tolist()
        if not train.size:
            raise DataError("no case is left to train on")
        self._check_channels(int(train[0]))
        loader = PatchLoader(
            PatchDataset(self.cases, train, self.config.patching, self.config.seed),
            self.config.trainer.batch_size,
            self.config.trainer.accumulation,
            self.distributed,
            self.cases.config.workers,
            self.cases.config.timeout,
        )
        steps = self.checkpoints.steps()
        return Plan(val, loader, self.checkpoints.load(steps[-1]) if steps else None)

    def _fit(self, model: CustomVAE, plan: Plan, total: int) -> None:
        objective = Objective(self.config.loss, model.factor)
        logger = self._logger(objective, total, plan)
        failed = True
        try:
            trainer = Trainer(
                model=model,
                objective=objective,
                loader=plan.loader,
                config=self.config.trainer,
                distributed=self.distributed,
                checkpoints=self.checkpoints,
                logger=logger,
                validate=self._validation(model, plan.val, logger),
                save_weights=self._save_weights,
                seed=self.config.seed,
            )
            if plan.checkpoint:
                trainer.resume(plan.checkpoint)
                self._say(f"{self.folder.path} goes on at step {trainer.state.step}")
            state = trainer.fit()
            failed = False
        finally:
            logger.close(failed)
        if self.distributed.is_main:
            best = state.best_score
            write_json(
                self.folder.summary,
                {
                    "steps": state.step,
                    "best_step": state.best_step,
                    "best_by": self.config.trainer.best_by,
                    "best_score": None if best is None else abs(best),
                    "parameters": sum(p.numel() for p in model.parameters()),
                },
            )
        self._say(f"trained {state.step} steps: {self.folder.path}")

    def _check_folder(self) -> None:
        if not self.folder.path.exists():
            return
        if not self.folder.path.is_dir():
            raise RunError(f"{self.folder.path}: is no folder; choose another name=")
        if not self.folder.config.exists():
            if any(self.folder.path.iterdir()):
                raise RunError(
                    f"{self.folder.path}: holds files that are no run; choose another name="
                )
            return
        changed = differences(
            frozen(describe(load_config(self.folder.config))), frozen(describe(self.config))
        )
        if changed:
            raise RunError(
                f"{self.folder.path}: belongs to other settings ({'; '.join(changed)}); "
                "choose another name= or take the settings back"
            )

    def _check_channels(self, first: int) -> None:
        channels = self.cases[first].channels
        if channels != self.config.model.in_channels:
            raise ConfigError(
                f"model.in_channels must be the cases' number of channels ({channels}), "
                f"got {self.config.model.in_channels}"
            )

    def _logger(self, objective: Objective, total: int, plan: Plan) -> Logger:
        if not self.distributed.is_main:
            return Logger()
        columns = [
            "loss",
            *objective.terms,
            "kl",
            "kl_weight",
            "lr",
            "grad_norm",
            *self.config.evaluation.metrics,
        ]
        table = CsvLogger(self.folder.metrics, columns)
        table.truncate_after(plan.checkpoint["train"]["step"] if plan.checkpoint else 0)
        chosen = build_loggers(
            self.config.logger, self.folder.path, self.config.name, describe(self.config)
        )
        return LoggerGroup([table, ConsoleLogger(total), chosen])

    def _validation(self, model: CustomVAE, val: list[int], logger: Logger) -> Any:
        mode = "full" if isinstance(self.config.patching, WholeVolume) else "patch"
        config = replace(
            self.config.evaluation,
            media=["png", "mp4"],
            media_cases=1,
            save_reconstructions=False,
            metrics=sorted({*self.config.evaluation.metrics, self.config.trainer.best_by}),
        )
        precision = Precision(config.precision, self.distributed.device)
        reconstructor = Reconstructor(model, mode, config.inference, precision)
        evaluator = Evaluator(reconstructor, self.cases, config, self.distributed)

        def validate(step: int) -> dict[str, float]:
            if not val:
                return {}
            folder = self.folder.report("validation")
            return evaluator.evaluate(val, folder, logger, step).means

        return validate

    def _save_weights(self, which: str, state: dict[str, Tensor]) -> None:
        contract = {
            "intensity": self.cases.contract.describe(),
            "spacing": self.cases.spacing,
        }
        save_weights(self.folder.weights(which), self.config.model, state, contract)

    def _say(self, text: str) -> None:
        if self.distributed.is_main:
            announce(text)


def fitted(config: TrainConfig, spatial_dims: int, distributed: Distributed) -> TrainConfig:
    """The settings with everything that follows from data and device filled in.

    Raises:
        ConfigError: model or patches do not fit the data.
    """
    if config.model.spatial_dims not in (None, spatial_dims):
        raise ConfigError(
            f"model.spatial_dims must be {spatial_dims} for these data, "
            f"got {config.model.spatial_dims}"
        )
    device = distributed.device
    patching = config.patching.fitted(spatial_dims)
    inference = config.evaluation.inference
    if inference.size is None and not isinstance(patching, WholeVolume):
        inference = replace(inference, size=patching.size)  # type: ignore[attr-defined]
    return replace(
        config,
        patching=patching,
        model=replace(config.model, spatial_dims=spatial_dims),
        trainer=replace(
            config.trainer, precision=choose_precision(config.trainer.precision, device)
        ),
        evaluation=replace(config.evaluation, inference=inference),
    )


def frozen(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of described settings that a run keeps from start to end."""
    kept: dict[str, Any] = {"seed": settings["seed"]}
    for group, free in MAY_CHANGE.items():
        kept[group] = {k: v for k, v in settings[group].items() if k not in free}
    return kept
