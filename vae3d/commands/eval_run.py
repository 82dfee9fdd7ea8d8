"""`vae3d eval`: score the weights of a run on its held-out cases, or on other data."""

import logging
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_cases import adopt_splits, choose, notes_on
from vae3d.commands.trained import TrainedRun
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData, DataConfig, ScansConfig, StoreConfig
from vae3d.data.run_cases import RunCases
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.page import write_report
from vae3d.inference.runner import build_runner
from vae3d.logger.base import Logger
from vae3d.logger.build import build_loggers
from vae3d.logger.console import ProgressBar, table
from vae3d.report.result import EvaluationResult
from vae3d.runtime.precision import Precision
from vae3d.scans.source import CaseSource
from vae3d.settings.saved import describe
from vae3d.version import __version__

log = logging.getLogger(__name__)


def evaluate(config: EvalConfig, source: CaseSource | None = None) -> EvaluationResult:
    """Score a run and write scores and pictures, by default to its `report/<mode>`.

    Raises:
        UserError: the run does not exist, or the data do not fit its weights.
    """
    with TrainedRun.opened(config) as trained:
        return Evaluation(config, trained, source).run()


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run."""

    config: EvalConfig
    trained: TrainedRun
    source: CaseSource | None

    def run(self) -> EvaluationResult:
        """Score the cases, write the report and print the means; return the scores."""
        folder = self.trained.folder
        record = RunCases.read(folder.cases)
        cases, indices = self._cases(record)
        evaluator = self._evaluator(cases)
        output = Path(self.config.output or folder.report(self.config.mode)).expanduser()
        logger = self._logger()
        failed = True
        try:
            result = evaluator.evaluate(indices, output, logger)
            result = replace(result, notes=self._notes(record, result))
            if self.trained.distributed.is_main:
                result.write(output)
                log_scores(logger, result)
            if evaluator.config.report:
                page = output / "index.html"
                curves = folder.metrics if folder.metrics.exists() else None
                write_report(evaluator, result, indices, page, self._about(), curves)
                logger.log_file("report", page)
            failed = False
        finally:
            logger.close(failed)
        if self.trained.distributed.is_main:
            show(result, output)
        return result

    def _about(self) -> dict[str, Any]:
        settings = self.trained.settings
        return {
            "name": settings.name,
            "weights": str(self.trained.weights),
            "parameters": sum(p.numel() for p in self.trained.model.parameters()),
            "command": " ".join(["vae3d eval", *sys.argv[1:]]),
            "versions": {
                "vae3d": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": str(self.trained.distributed.device),
            },
            "config": describe(settings),
        }

    def _notes(self, record: RunCases, result: EvaluationResult) -> list[str]:
        scored = [(case.case_id, case.identity) for case in result.cases]
        # Names that count the items of a Dataset say nothing.
        named = isinstance(self.trained.data(self.config.data), (ScansConfig, StoreConfig))
        notes = notes_on(record, scored, namesakes=named and self.source is None)
        for note in notes:
            log.warning(note)
        return notes

    def _cases(self, record: RunCases) -> tuple[Cases, list[int]]:
        trained = self.trained
        settings = trained.settings
        data = trained.data(self.config.data)
        bar = ProgressBar("prepare", self.trained.distributed.is_main)
        cases = open_cases(data, bar, self.source, trained.adopt)
        # Scans are resampled as they are read; volumes of a store are not.
        if not data.source:
            trained.check_spacing(cases.spacing)
        own = adopt_splits(cases, record)
        if not record.cases:
            own = self.source is None and _same_cases(data, settings.data)
        return cases, choose(cases, self.config.split, own)

    def _evaluator(self, cases: Cases) -> Evaluator:
        config = self.config.evaluation
        # The patch size is the training's, unless the settings name one.
        size = config.inference.size or self.trained.settings.evaluation.inference.size
        settings = replace(config, inference=replace(config.inference, size=size))
        device = self.trained.distributed.device
        precision = Precision(settings.precision, device)
        runner = build_runner(
            settings.inference, self.config.mode, self.trained.model, device, precision
        )
        bar = ProgressBar("eval", self.trained.distributed.is_main)
        return Evaluator(runner, cases, settings, self.trained.distributed, bar)

    def _logger(self) -> Logger:
        if not self.trained.distributed.is_main:
            return Logger()
        folder, settings = self.trained.folder, self.trained.settings
        return build_loggers(self.config.logger, folder.path, settings.name, describe(settings))


def _same_cases(data: CaseData, trained: DataConfig) -> bool:
    keys = ("root", "list", "count", "shape", "seed", "dataset")
    return type(data) is type(trained) and all(
        _resolved(getattr(data, key, None)) == _resolved(getattr(trained, key, None))
        for key in keys
    )


def _resolved(value: Any) -> Any:
    """Return a path without links and dots, however it was written."""
    return Path(value).expanduser().resolve() if isinstance(value, str) else value


def log_scores(logger: Logger, result: EvaluationResult) -> None:
    """Log the scores of every case, and their means."""
    rows = [[c.case_id, *(c.scores.get(n) for n in result.names)] for c in result.cases]
    logger.log_table("cases", ["case", *result.names], rows)
    logger.log(0, result.means, "eval")


def show(result: EvaluationResult, output: Path) -> None:
    """Print the means, and the paths of scores and pictures."""
    references = [name for name in result.names if name.startswith("psnr@")]
    rows = [
        [name, f"{result.mean(name):.4g}", f"{result.spread(name):.4g}", result.unit(name)]
        for name in (*result.means, *references)
    ]
    title = f"{len(result.cases)} cases, mode={result.protocol['mode']}"
    table(title, ["metric", "mean", "std", "unit"], rows)
    log.info(f"scores: {output / 'scores.csv'}")
    for name, path in (("pictures", output / "cases"), ("report", output / "index.html")):
        if path.exists():
            log.info(f"{name}: {path}")
