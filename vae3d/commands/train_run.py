"""`vae3d train`: builds everything a training needs from its settings, and fits."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import save_weights
from vae3d.commands.changes import check_changes, frozen
from vae3d.commands.saved import save_config
from vae3d.commands.train import TrainConfig
from vae3d.data.build import open_cases
from vae3d.data.loader import PatchLoader
from vae3d.data.patches import PatchDataset
from vae3d.errors import (
    CheckpointError,
    ConfigError,
    DataError,
)
from vae3d.evaluation.evaluator import Evaluator
from vae3d.inference.build import build_runner
from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.build import build_loggers
from vae3d.logger.console import ConsoleLogger, ProgressBar
from vae3d.logger.csv import CsvLogger
from vae3d.logger.progress import ProgressPicture
from vae3d.loss.objective import Objective
from vae3d.patching.samplers import build_sampler
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision, choose_precision
from vae3d.runtime.run_folder import RunFolder, claimed
from vae3d.runtime.seeding import seed_global
from vae3d.scans.source import CaseSource
from vae3d.settings.saved import describe
from vae3d.trainer.checkpoint import Checkpoint, CheckpointFolder, naming_missing_parts
from vae3d.trainer.config import BEST_BY
from vae3d.trainer.journal import Journal
from vae3d.trainer.state import TrainState
from vae3d.trainer.trainer import Callbacks, Trainer, total_steps
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics
from vae3d.version import __version__

log = logging.getLogger(__name__)


def train(config: TrainConfig, source: CaseSource | None = None) -> Path:
    """Trains as the settings say, or goes on where the run stopped; gives the run folder.

    Raises:
        UserError: settings, data or run folder do not allow it; nothing has been written then.
        Interrupted: a signal came; the same call goes on.
    """
    folder = RunFolder(config.folder)
    with (
        start_distributed(config.trainer.device, config.trainer.timeout) as distributed,
        claimed(folder, distributed),
    ):
        return Training(config, source, distributed).run()


@dataclass(frozen=True)
class Plan:
    """The cases of a training and where it stands, known before anything is written."""

    val: list[int]
    loader: PatchLoader
    about: dict[str, Any]
    checkpoint: Checkpoint | None


class Training:
    """One training from its settings to its weights."""

    def __init__(
        self, config: TrainConfig, source: CaseSource | None, distributed: Distributed
    ) -> None:
        self.distributed = distributed
        self.folder = RunFolder(config.folder)
        self.cases = open_cases(config.data, ProgressBar("prepare", distributed.is_main), source)
        self.config = fitted(config, self.cases.spatial_dims, distributed)
        self.checkpoints = CheckpointFolder(self.folder.checkpoints)
        self.journal = Journal(
            self.folder, self.checkpoints, self.config.trainer, self.distributed
        )
        # By the step of the weights that were measured, so that no others get these figures.
        self.latents: dict[int, LatentStatistics | None] = {}

    def run(self) -> Path:
        """Trains to the end."""
        seed_global(self.config.seed, "model")
        model = CustomVAE(self.config.model)
        parameters = sum(p.numel() for p in model.parameters())
        if self.folder.config.exists():
            check_changes(self.folder.config, self.config, bool(self.checkpoints.steps()))
        plan = self._plan()
        finished = self._finished(plan)
        if finished:
            # A kill may have come between the last checkpoint and what is written after it.
            self.journal.summary(finished, parameters)
            return self.folder.path
        self._begin(plan)
        logger = self._logger(plan)
        failed = True
        try:
            trainer = self._trainer(model, plan, logger)
            if plan.checkpoint:
                trainer.resume(plan.checkpoint.state)
            with self.journal.watching(trainer):
                state = trainer.fit()
            failed = False
        finally:
            logger.close(failed)
        self.journal.summary(state, parameters)
        log.info(f"trained {state.step} steps: {self.folder.path}")
        return self.folder.path

    def _plan(self) -> Plan:
        train = self.cases.survey("train")
        val = self.cases.survey("val")[: self.config.trainer.val_cases].tolist()
        if not train.size:
            raise DataError("no case is left to train on")
        self._check_channels(int(train[0]))
        sampler = build_sampler(self.config.patching, self.cases.spatial_dims)
        loader = PatchLoader(
            PatchDataset(self.cases, train, sampler, self.config.seed),
            self.config.trainer.batch_size,
            self.config.trainer.accumulation,
            self.distributed,
            self.cases.config.workers,
            self.cases.config.timeout,
        )
        loader.on_unread = self.journal.unread
        settings = json.dumps(frozen(describe(self.config)), sort_keys=True)
        about = {
            "vae3d": __version__,
            "torch": torch.__version__,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
            "data": self.cases.fingerprint(train),
        }
        return Plan(val, loader, about, self._checkpoint(about))

    def _checkpoint(self, about: dict[str, Any]) -> Checkpoint | None:
        """Where to go on: the newest whole checkpoint, or exactly the one that was asked for."""
        step = self.config.trainer.resume
        found = self.checkpoints.newest() if step is None else self.checkpoints.load(step)
        if found and found.about.get("data") != about["data"]:
            raise CheckpointError(
                f"{self.folder.path}: its training cases were others (names, shapes or voxels; "
                f"{self.folder.cases.name} lists them); bring them back or choose another name="
            )
        return found

    def _trainer(self, model: CustomVAE, plan: Plan, logger: Logger) -> Trainer:
        return Trainer(
            model=model,
            objective=Objective(self.config.loss, model.factor),
            loader=plan.loader,
            config=self.config.trainer,
            distributed=self.distributed,
            checkpoints=self.checkpoints,
            logger=logger,
            callbacks=Callbacks(
                validate=self._validation(model, plan.val, logger),
                save_weights=self._save_weights,
                report_bad_step=partial(self.journal.bad_step, plan.loader),
                about=plan.about,
            ),
            seed=self.config.seed,
        )

    def _finished(self, plan: Plan) -> TrainState | None:
        """Where the run ended, if it has nothing left to do; says how to extend it."""
        if plan.checkpoint is None or self.config.trainer.resume is not None:
            return None
        state = TrainState()
        with naming_missing_parts(self.folder.checkpoints):
            state.load_state_dict(plan.checkpoint.state["train"])
        total = total_steps(self.config.trainer, plan.loader)
        if not state.is_finished(total, self.config.trainer.patience):
            return None
        reason = self.journal.ending(state, total)
        log.info(reason)
        self.journal.status("finished", state.step, total, reason, 0)
        return state

    def _begin(self, plan: Plan) -> None:
        """What is written before anything else: from here on the folder is a run."""
        step = plan.checkpoint.step if plan.checkpoint else 0
        back = self.config.trainer.resume is not None
        if plan.checkpoint:
            log.info(f"{self.folder.path} goes {'back to' if back else 'on at'} step {step}")
        self.distributed.barrier()
        if not self.distributed.is_main:
            return
        if back:
            self.checkpoints.drop_after(step)
        save_config(self.config, self.folder.config)
        train = plan.loader.dataset.indices.tolist()
        members = [(i, "train") for i in train] + [(i, "val") for i in plan.val]
        names = ((self.cases.case_id(index), split) for index, split in members)
        self.journal.cases(names, len(train))

    def _check_channels(self, first: int) -> None:
        channels = self.cases[first].channels
        if channels != self.config.model.in_channels:
            raise ConfigError(
                f"model.in_channels must be the cases' number of channels ({channels}), "
                f"got {self.config.model.in_channels}"
            )

    def _logger(self, plan: Plan) -> Logger:
        if not self.distributed.is_main:
            return Logger()
        columns = [
            "loss",
            *(name for name, weight in self.config.loss.terms.items() if weight > 0),
            "kl",
            "kl_weight",
            "lr",
            "grad_norm",
            *self._validated(),
        ]
        table = CsvLogger(self.folder.metrics, columns)
        table.truncate_after(plan.checkpoint.step if plan.checkpoint else 0)
        chosen = build_loggers(
            self.config.logger, self.folder.path, self.config.name, describe(self.config)
        )
        total = total_steps(self.config.trainer, plan.loader)
        picture = ProgressPicture(self.folder.metrics, self.folder.progress)
        return LoggerGroup([table, ConsoleLogger(total), picture, chosen])

    def _validation(self, model: CustomVAE, val: list[int], logger: Logger) -> Any:
        mode = self.config.patching.mode
        config = replace(
            self.config.evaluation,
            media=[kind for kind in self.config.evaluation.media if kind != "gif"],
            media_cases=1,
            save_reconstructions=False,
            metrics=self._validated(),
            # What a training looks at every few minutes is the score; the latents' scale goes
            # with the weights.
            regions=[],
            floor=False,
            baselines=[],
            latents=True,
            report=False,
        )
        device = self.distributed.device
        runner = build_runner(
            config.inference, mode, model, device, Precision(config.precision, device)
        )
        evaluator = Evaluator(runner, self.cases, config, self.distributed)

        def validate(step: int, interrupted: Callable[[], bool]) -> dict[str, float]:
            if not val:
                return {}
            folder = self.folder.report("validation")
            found = evaluator.evaluate(val, folder, logger, step, interrupted)
            self.latents = {step: LatentStatistics.of(found.latents, len(found.cases))}
            return {name: found.mean(name) for name in config.metrics}

        return validate

    def _validated(self) -> list[str]:
        """The metrics of a validation."""
        chosen = {*self.config.evaluation.metrics, self.config.trainer.best_by}
        return [name for name in BEST_BY if name in chosen]

    def _save_weights(self, which: str, step: int, state: dict[str, Tensor]) -> None:
        spacing = self.cases.spacing
        contract = InputContract(self.cases.contract, None if spacing is None else (*spacing,))
        folder, latents = self.folder.weights(which), self.latents.get(step)
        save_weights(folder, self.config.model, state, contract, latents)


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
    patching, inference = config.patching, config.evaluation.inference
    size = getattr(build_sampler(patching, spatial_dims), "size", None)
    if size is not None:
        patching = replace(patching, size=size)  # type: ignore[call-arg]
        inference = replace(inference, size=inference.size or size)
    return replace(
        config,
        patching=patching,
        model=replace(config.model, spatial_dims=spatial_dims),
        trainer=replace(
            config.trainer, precision=choose_precision(config.trainer.precision, device)
        ),
        evaluation=replace(config.evaluation, inference=inference),
    )
