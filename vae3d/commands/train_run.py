"""`vae3d train`: build everything that a training needs from its settings, and train."""

import hashlib
import json
import logging
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.autoencoder.description import Origin
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import save_weights
from vae3d.budget.memory import fit_into_memory
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.build import open_cases
from vae3d.data.check import check_channels, check_values
from vae3d.data.run_cases import check_splits, listed, split_record
from vae3d.errors import ConfigError, DataError
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.validation import Validation, brief
from vae3d.inference.runner import build_runner
from vae3d.loading.encoded import data_fingerprints, open_latents
from vae3d.loading.loader import PatchLoader
from vae3d.loading.patches import PatchDataset
from vae3d.logger.base import Logger, LoggerGroup
from vae3d.logger.build import build_loggers, with_files
from vae3d.logger.console import ProgressBar
from vae3d.logger.csv import CsvLogger
from vae3d.logger.rows import Written
from vae3d.loss.equivariance import check_equivariance
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import build_perceptual
from vae3d.model.frozen import check_start, freeze
from vae3d.patching.samplers import build_sampler
from vae3d.run.beginning import Beginning, Extras
from vae3d.run.changes import frozen
from vae3d.run.config import TrainConfig
from vae3d.run.saved import asked, check_changes, load_earlier
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.messages import counted
from vae3d.runtime.precision import Precision, choose_precision
from vae3d.runtime.run_folder import RunFolder, claimed
from vae3d.runtime.seeding import seed_global
from vae3d.runtime.shell import next_command
from vae3d.scans.source import CaseSource
from vae3d.settings.saved import describe, write_settings
from vae3d.trainer.adversary import check_adversary
from vae3d.trainer.advice import report_frozen, report_waste
from vae3d.trainer.config import BEST_BY, VALIDATED
from vae3d.trainer.perceptual import perceptual_of
from vae3d.trainer.session import Session
from vae3d.trainer.state import TrainState
from vae3d.trainer.trainer import Callbacks, Trainer, total_steps
from vae3d.version import __version__

log = logging.getLogger(__name__)


def train(
    config: TrainConfig, source: CaseSource | None = None, extras: Extras | None = None
) -> Path:
    """Train a new run, or resume an interrupted one; return the run folder.

    Raises:
        UserError: the settings, the data or the run folder cannot be used; nothing is written.
        Interrupted: a signal came; the same call resumes.
    """
    folder = RunFolder(config.folder)
    with (
        start_distributed(config.trainer.device, config.trainer.timeout) as distributed,
        claimed(folder, distributed),
    ):
        return Training(config, source, distributed, extras or Extras()).run()


class Training:
    """Everything that a training needs, built from its settings."""

    def __init__(
        self,
        config: TrainConfig,
        source: CaseSource | None,
        distributed: Distributed,
        extras: Extras,
    ) -> None:
        self.distributed = distributed
        self.extras = extras
        self.folder = RunFolder(config.folder)
        bar = ProgressBar("prepare", distributed.is_main)
        # A run keeps what it recorded, such as the rule by which its splits were drawn.
        earlier = load_earlier(self.folder.config)
        data = config.data.keeping(asdict(earlier.data) if earlier else {})
        trainer = config.trainer.keeping(asdict(earlier.trainer) if earlier else {})
        if not earlier:
            check_start(config.trainer.train, config.init_from)
        # A run that is finished needs its features no more.
        self.perceptual = None if earlier else build_perceptual(config.loss, distributed.device)
        # A training that resumes has used these values before.
        opened = data.lenient() if earlier else data
        before = asked(earlier) if earlier else None
        self.beginning = Beginning(self.folder, asked(config), before, extras.start)
        source = self.beginning.check(source, opened)
        self.cases = open_cases(opened, bar, source)
        data = data.keeping(self.cases.recorded)
        config = replace(config, data=data, trainer=trainer)
        config = replace(config, **self.beginning.settings(config.plugins))
        self.config = resolved(config, self.cases.spatial_dims, distributed)
        if self.perceptual:
            size = getattr(self.config.patching, "size", None)
            channels = self.config.model.in_channels
            self.perceptual.check(self.cases.spatial_dims, channels, size)

    def run(self) -> Path:
        """Train to the end; return the run folder."""
        seed_global(self.config.seed, "model")
        model = CustomVAE(self.config.model)
        freeze(model, self.config.trainer.train)
        check_equivariance(self.config.loss, model)
        report_frozen(model)
        check_adversary(self.config.loss.adversary, model, self.config.trainer)
        if self.folder.config.exists():
            steps = CheckpointFolder(self.folder.checkpoints).steps()
            check_changes(self.folder.config, self.config, has_checkpoints=bool(steps))
        contract = self.cases.input_contract
        self.beginning.begin(model, self.config.init_strict, contract, self.distributed)
        train, val = self.cases.survey("train"), self.cases.survey("val")
        val = val[: self.config.trainer.val_cases]
        session = self._session(train, model)
        state, logged = session.finished(), session.logged
        if state is None:
            check_splits(self.cases, resumes=session.checkpoint is not None)
            check_values(self.cases, warns=self.distributed.is_main)
            self.perceptual = perceptual_of(session, self.config.loss, self.perceptual)
            loss, trainer = self.config.loss, self.config.trainer
            fit_into_memory(model, loss, trainer, session.loader, self.distributed)
            session.begin(self._save_settings, listed(self.cases))
            if self.distributed.is_main:
                some = [*self.cases.shapes(train[:100])]
                size = getattr(self.config.patching, "size", None)
                report_waste(self.config.trainer, session.loader, size, some)
            state, logged = self._fit(session, model, val.tolist())
            log.info(f"trained {counted(state.step, 'step')}: {self.folder.path}")
        # Of a finished run too: it may have been killed between its last checkpoint and this line.
        session.journal.summary(state, sum(p.numel() for p in model.parameters()), logged)
        log.info(f"curves: {self.folder.progress}")
        log.info(next_command("eval", f"run={self.folder.path}"))
        return self.folder.path

    def _save_settings(self) -> None:
        write_settings(self.config, self.folder.config)
        self.beginning.write()

    def _fit(
        self, session: Session, model: CustomVAE, val: list[int]
    ) -> tuple[TrainState, Written]:
        columns = [*self.config.loss.columns, "lr", "grad_norm", *self._metrics()]
        table = CsvLogger(self.folder.metrics, columns)
        logger = self._logger(session, table)
        failed = True
        try:
            validation = self._validation(model, val, logger)
            trainer = self._trainer(session, model, validation, logger, table)
            if session.checkpoint:
                trainer.resume(session.checkpoint.state)
            with session.journal.watching(trainer):
                if self.beginning.start is not None:
                    trainer.save_beginning()
                state = trainer.fit()
            failed = False
        finally:
            logger.close(failed)
        return state, table.written

    def _session(self, train: NDArray[np.int64], model: CustomVAE) -> Session:
        if not train.size:
            raise DataError("no case is left to train on")
        check_channels(self.cases[int(train[0])], self.config.model.in_channels)
        config = self.config
        sampler = build_sampler(config.patching, self.cases.spatial_dims)
        size = getattr(sampler, "size", None)
        halo = config.trainer.halo
        latents = open_latents(config.trainer.latents, halo, model, self.cases, train, size)
        loader = PatchLoader(
            PatchDataset(self.cases, train, sampler, config.seed, latents),
            config.trainer.batch_size,
            config.trainer.accumulation,
            self.distributed,
            self.cases.config.workers,
            self.cases.config.timeout,
        )
        every = config.trainer.validation_interval(total_steps(config.trainer, loader))
        config = self.config = replace(config, trainer=replace(config.trainer, val_every=every))
        settings = json.dumps(frozen(describe(config)), sort_keys=True)
        data, earlier = data_fingerprints(self.cases, train, latents)
        about = {
            "vae3d": __version__,
            "torch": torch.__version__,
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
            "data": data,
        }
        session = Session(self.folder, config.trainer, loader, about, earlier, self.distributed)
        if latents is not None and session.checkpoint is None:
            latents.check_encoder(model.config, model.state_dict())
        loader.on_unreadable = session.journal.unread
        return session

    def _validation(self, model: CustomVAE, val: list[int], logger: Logger) -> Validation:
        config, device = self.config, self.distributed.device
        settings = brief(config.evaluation, self._metrics())
        precision = Precision(settings.precision, device, "evaluation.precision")
        runner = build_runner(settings.inference, config.patching.mode, model, device, precision)
        evaluator = Evaluator(runner, self.cases, settings, self.distributed)
        return Validation(evaluator, val, self.folder.report("validation"), logger)

    def _trainer(
        self,
        session: Session,
        model: CustomVAE,
        validation: Validation,
        logger: Logger,
        table: CsvLogger,
    ) -> Trainer:
        config, contract = self.config, self.cases.input_contract
        split_rule = split_record(self.cases)

        def save(which: str, step: int, state: dict[str, Tensor]) -> None:
            latents = validation.latents_at(step)
            folder, ancestors = self.folder.weights(which), self.beginning.ancestors
            origin = Origin("vae3d train", __version__, step, ancestors)
            save_weights(folder, config.model, state, contract, latents, origin, split_rule)

        return Trainer(
            model=model,
            objective=Objective(config.loss, model.factor, self.perceptual),
            loader=session.loader,
            config=config.trainer,
            distributed=self.distributed,
            checkpoints=session.checkpoints,
            logger=logger,
            callbacks=Callbacks(
                validate=validation,
                save_weights=save,
                report_bad_step=partial(session.journal.bad_step, session.loader),
                about=session.about,
                logged=lambda: asdict(table.written),
            ),
            seed=config.seed,
        )

    def _logger(self, session: Session, table: CsvLogger) -> Logger:
        if not self.distributed.is_main:
            return Logger()
        config = self.config
        table.truncate_after(session.first_step, session.logged)
        chosen = build_loggers(config.logger, self.folder.path, config.name, describe(config))
        chosen = LoggerGroup([chosen, *self.extras.loggers])
        return with_files(table, self.folder, session.total_steps, chosen)

    def _metrics(self) -> list[str]:
        """Return the metrics of a validation."""
        best_by = self.config.trainer.best_by
        chosen = [name for name in VALIDATED if name in self.config.evaluation.metrics]
        return [name for name in BEST_BY if name in (*chosen, best_by)]


def resolved(config: TrainConfig, spatial_dims: int, distributed: Distributed) -> TrainConfig:
    """Return the settings with everything that follows from data and device filled in.

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
    # Statistics of a batch norm are those of a whole batch, and so is what is compiled.
    in_parts = config.model.norm != "batch" and not config.trainer.compile
    trainer = config.trainer.divided(device.type, torch.get_num_threads(), in_parts)
    precision = choose_precision(trainer.precision, device, "trainer.precision")
    return replace(
        config,
        patching=patching,
        model=replace(config.model, spatial_dims=spatial_dims),
        trainer=replace(trainer, precision=precision),
        evaluation=replace(config.evaluation, inference=inference),
    )
