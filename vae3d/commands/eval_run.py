"""`vae3d eval`: score the weights of a run on its held-out cases, or on other data."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vae3d.autoencoder.config import OwnConfig
from vae3d.checkpoints.recorded import warn_of_metrics
from vae3d.commands.eval import EvalConfig
from vae3d.data.cases import Cases
from vae3d.data.check import check_values
from vae3d.data.config import ScansConfig, StoreConfig
from vae3d.data.run_cases import RunCases
from vae3d.errors import ConfigError
from vae3d.evaluation.choice import adopt_splits, choose, notes_on
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.console import log_scores, show
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.facts import (
    facts_of_data,
    facts_of_model,
    facts_of_today,
    facts_of_training,
)
from vae3d.evaluation.foreign import ForeignRun
from vae3d.evaluation.page import write_report
from vae3d.evaluation.place import are_run_cases, is_same_data, label_of_data
from vae3d.files.links import check_inside, check_no_links
from vae3d.files.paths import user_path
from vae3d.files.sole_writer import sole_writer
from vae3d.inference.runner import PatchRunner, build_runner, warn_of_unused
from vae3d.logger.base import Logger, LoggerGroup, NamedLogger
from vae3d.logger.build import build_loggers
from vae3d.logger.console import ProgressBar
from vae3d.report.result import EvaluationResult
from vae3d.run.trained import TrainedRun
from vae3d.runtime.precision import Precision
from vae3d.runtime.shell import command_line, next_command
from vae3d.scans.source import CaseSource

log = logging.getLogger(__name__)


def evaluate(
    config: EvalConfig, source: CaseSource | None = None, loggers: Sequence[Logger] = ()
) -> EvaluationResult:
    """Score a run and write scores and pictures, by default to its `report/<mode>`.

    Raises:
        UserError: the run does not exist, or the data do not fit its weights.
    """
    config.check_given()
    if isinstance(config.autoencoder, OwnConfig):
        with TrainedRun.opened(config) as trained:
            if trained.place.hub and config.output is None:
                raise ConfigError("output must name a folder for a report on weights of the hub")
            return Evaluation(config, trained, source, loggers).run()
    with ForeignRun.opened(config.autoencoder, config.data, config.device, source) as foreign:
        return Evaluation(config, foreign, source, loggers).run()


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run."""

    config: EvalConfig
    trained: TrainedRun | ForeignRun
    source: CaseSource | None
    loggers: Sequence[Logger] = ()

    def run(self) -> EvaluationResult:
        """Score the cases, write the report and print the means; return the scores."""
        folder = self.trained.folder
        record = RunCases.read(folder.cases)
        warn_of_unused(self.config.evaluation.inference, self.config.mode)
        settings = self.trained.evaluation(self.config.evaluation, self.config.mode)
        cases, indices, own = self._cases(record)
        evaluator = self._evaluator(cases, settings)
        output = self._output(cases, indices, record)
        check_no_links(check_inside(output, output / "cases"))
        writer = sole_writer(output, ("cases", "reconstructions"))
        with self.trained.distributed.entered_by_main(writer):
            logger = self._logger(output)
            failed = True
            try:
                result = evaluator.evaluate(indices, output, logger)
                facts = self._facts(cases, indices, own, result)
                result = replace(result, facts=facts, warnings=self._warnings(record, result))
                if self.trained.distributed.is_main:
                    result.write(output)
                    # Its unread test cases are known now that they were read.
                    read = {case.case_id: case.identity for case in result.cases}
                    record.complete(folder.cases, cases, read)
                    log_scores(logger, result)
                if evaluator.config.report:
                    page = output / "index.html"
                    warn_of_metrics(folder)
                    curves = folder.metrics if folder.metrics.exists() else None
                    write_report(
                        evaluator, result.in_shares(), indices, page, self._about(facts), curves
                    )
                    logger.log_file("report", page)
                failed = False
            finally:
                logger.close(failed)
        if self.trained.distributed.is_main:
            show(result.in_shares(), output)
            if isinstance(self.trained, TrainedRun):
                log.info(next_command("encode", f"run={folder.path}"))
        return result

    def _about(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return what the page states of the evaluation, apart from the facts at its top."""
        settings, statistics = self.trained.describe(), self.trained.model.statistics
        return {
            "name": settings["name"],
            "weights": str(self.trained.weights),
            "command": command_line(["vae3d", "eval", *sys.argv[1:]]),
            "latent_statistics": statistics
            and {"measured_on": statistics.measured_on, **statistics.describe()},
            "versions": {**facts["versions"], "device": str(self.trained.distributed.device)},
            "config": settings,
        }

    def _warnings(self, record: RunCases, result: EvaluationResult) -> list[str]:
        scored = [(case.case_id, case.identity) for case in result.cases]
        # Names that count the items of a Dataset say nothing.
        named = isinstance(self.trained.data(self.config.data), (ScansConfig, StoreConfig))
        notes = notes_on(record, scored, namesakes=named and self.source is None)
        if self.trained.is_alone:
            notes.append("nothing is known about the cases that these weights were trained on")
        for note in notes:
            log.warning(note)
        return [*self.trained.agreement.notes, *notes]

    def _facts(
        self, cases: Cases, indices: list[int], own: bool, result: EvaluationResult
    ) -> dict[str, Any]:
        """Return the facts about an evaluation; `own` if the cases are the run's."""
        trained, settings = self.trained, self.trained.describe()
        weights = "" if trained.is_alone else Path(trained.weights).name
        shapes = {case.shape for case in result.cases}
        return {
            **facts_of_data(trained.data(self.config.data), cases, indices, own),
            **facts_of_model(trained.model, settings["name"], weights, shapes),
            **facts_of_training(settings, trained.folder),
            **facts_of_today(),
            **({"sets": result.sets} if result.sets else {}),
        }

    def _cases(self, record: RunCases) -> tuple[Cases, list[int], bool]:
        bar = ProgressBar("prepare", self.trained.distributed.is_main)
        cases = self.trained.cases(self.config.data, bar, self.source)
        own = adopt_splits(cases, record)
        if not record.cases:
            own = self._is_run_data
        indices = choose(cases, self.config.split, own)
        check_values(cases, indices, warns=self.trained.distributed.is_main, is_fixed=True)
        return cases, indices, own

    @property
    def _is_run_data(self) -> bool:
        """Whether the settings name the data of the run."""
        trained = self.trained
        if self.source is not None or isinstance(trained, ForeignRun) or trained.is_alone:
            return False
        return is_same_data(trained.data(self.config.data), trained.settings.data)

    def _output(self, cases: Cases, indices: list[int], record: RunCases) -> Path:
        """Return the folder of the report; that of other data than the run's is another one."""
        if self.config.output is not None:
            return user_path(self.config.output)
        mode, folder = self.config.mode, self.trained.folder
        marks = [*self.trained.agreement.notes, *self.trained.marks]
        scored = [(cases.case_id(index), cases.identity(index)) for index in indices]
        if not marks and (self._is_run_data or are_run_cases(scored, record)):
            return folder.report(mode)
        label = label_of_data(self.trained.data(self.config.data), scored, marks)
        return folder.report(f"{mode}-{label}")

    def _evaluator(self, cases: Cases, config: EvaluationConfig) -> Evaluator:
        distributed, inference = self.trained.distributed, config.inference
        device = distributed.device
        precision = Precision(config.precision, device, "evaluation.precision")
        runner = build_runner(inference, self.config.mode, self.trained.model, device, precision)
        if isinstance(runner, PatchRunner) and inference.size is None and distributed.is_main:
            log.info(
                f"patches of {' x '.join(map(str, runner.size))} voxels: these weights do "
                "not state the size of the training's; evaluation.inference.size= chooses another"
            )
        bar = ProgressBar("eval", distributed.is_main)
        return Evaluator(runner, cases, config, distributed, bar)

    def _logger(self, output: Path) -> Logger:
        if not self.trained.distributed.is_main:
            return Logger()
        about = self.trained.describe()
        path = self.trained.folder.path
        logger = build_loggers(self.config.logger, path, about["name"], about)
        # Train, the modes of eval and other data may log into one run: names tell them apart.
        report = output.name if self.config.output is None else self.config.mode
        return NamedLogger(LoggerGroup([logger, *self.loggers]), f"eval_{report}")
