"""`vae3d eval`: score the weights of a run on its held-out cases, or on other data."""

import contextlib
import logging
import math
import platform
import sys
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from vae3d.commands.eval import EvalConfig
from vae3d.commands.trained import TrainedRun
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData, DataConfig, ScansConfig, StoreConfig
from vae3d.data.run_cases import RunCases
from vae3d.evaluation.choice import adopt_splits, choose, notes_on
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.page import write_report
from vae3d.inference.runner import build_runner
from vae3d.logger.base import Logger
from vae3d.logger.build import build_loggers
from vae3d.logger.console import ProgressBar, table
from vae3d.report.result import EvaluationResult
from vae3d.runtime.precision import Precision
from vae3d.runtime.shell import command_line
from vae3d.scans.source import CaseSource
from vae3d.scoring.scores import label_of, score_text, unit_text
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
        cases, indices, own = self._cases(record)
        evaluator = self._evaluator(cases)
        output = Path(self.config.output or folder.report(self.config.mode)).expanduser()
        logger = self._logger()
        failed = True
        try:
            result = evaluator.evaluate(indices, output, logger)
            facts = self._facts(cases, indices, own)
            warnings = self._warnings(record, result)
            result = replace(result, split=facts["Split"], warnings=warnings)
            if self.trained.distributed.is_main:
                result.write(output)
                self._complete(record, cases, result)
                log_scores(logger, result)
            if evaluator.config.report:
                page = output / "index.html"
                curves = folder.metrics if folder.metrics.exists() else None
                write_report(evaluator, result, indices, page, self._about(facts), curves)
                logger.log_file("report", page)
            failed = False
        finally:
            logger.close(failed)
        if self.trained.distributed.is_main:
            show(result, output, facts)
        return result

    def _about(self, facts: dict[str, str]) -> dict[str, Any]:
        """Return what the page states of the evaluation; `facts` are shown at its top."""
        settings, statistics = self.trained.settings, self.trained.model.statistics
        return {
            "name": settings.name,
            "weights": str(self.trained.weights),
            "parameters": sum(p.numel() for p in self.trained.model.parameters()),
            "facts": facts,
            "command": command_line(["vae3d", "eval", *sys.argv[1:]]),
            "latent_statistics": statistics.describe() if statistics else None,
            "versions": {
                "vae3d": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": str(self.trained.distributed.device),
            },
            "config": describe(settings),
        }

    def _warnings(self, record: RunCases, result: EvaluationResult) -> list[str]:
        scored = [(case.case_id, case.identity) for case in result.cases]
        # Names that count the items of a Dataset say nothing.
        named = isinstance(self.trained.data(self.config.data), (ScansConfig, StoreConfig))
        notes = notes_on(record, scored, namesakes=named and self.source is None)
        for note in notes:
            log.warning(note)
        return notes

    def _complete(self, record: RunCases, cases: Cases, result: EvaluationResult) -> None:
        """Record in the run which scans its unread test cases are, now that they were read."""
        read = {case.case_id: case.identity for case in result.cases}
        complete = record.completed(cases, read)
        if complete.cases != record.cases:
            # A run of someone else may be read-only: its scores count, its record can wait.
            with contextlib.suppress(OSError):
                complete.write(self.trained.folder.cases)

    def _facts(self, cases: Cases, indices: list[int], own: bool) -> dict[str, str]:
        """Return the facts about an evaluation by name; `own` if the cases are the run's."""
        settings, model = self.trained.settings, self.trained.model
        data, vae = self.trained.data(self.config.data), model.config
        scored = {*indices}
        splits = {name: len(scored & {*of.tolist()}) for name, of in cases.splits.items()}
        place = getattr(data, "root", None) or getattr(data, "list", None)
        kind = type(data).__name__.removesuffix("Config").lower()
        ratio = math.prod(vae.factor) * vae.in_channels / vae.latent_channels
        latent = f"{vae.latent_channels} channels, 1/{' x 1/'.join(map(str, vae.factor))}"
        split = ", ".join(f"{name} ({count})" for name, count in splits.items() if count)
        return {
            "Split": split if own else f"other data than the run's ({len(indices)} cases)",
            "Data": f"{kind} {place}" if place else kind,
            "Model": f"{sum(p.numel() for p in model.parameters()):,} parameters",
            "Latent grid": latent,
            "Compression": f"{ratio:g} numbers of the image for one of the latent",
            "Steps of the training": f"{settings.trainer.steps:,}",
            "Seed": str(settings.seed),
            "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
            "Versions": f"vae3d {__version__}, torch {torch.__version__}",
        }

    def _cases(self, record: RunCases) -> tuple[Cases, list[int], bool]:
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
        return cases, choose(cases, self.config.split, own), own

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
    # Train and the modes of eval may log into one run: names tell them apart.
    mode = result.protocol["mode"]
    logger.log_table(f"eval_{mode}_cases", ["case", *result.names], rows)
    logger.log(0, result.means, f"eval_{mode}")


def show(result: EvaluationResult, output: Path, facts: dict[str, str] | None = None) -> None:
    """Print what was evaluated (`facts`), the means, and the paths of scores and pictures."""
    references = [name for name in result.names if name.startswith("psnr@")]
    rows = [
        [
            label_of(name),
            score_text(name, result.mean(name)),
            score_text(name, result.spread(name)) if len(result.values(name)) > 1 else "-",
            _ends(result, name),
            unit_text(result.unit(name)),
        ]
        for name in (*result.means, *references)
    ]
    cases = "1 case" if len(result.cases) == 1 else f"{len(result.cases)} cases"
    for name, value in (facts or {}).items():
        log.info(f"{name}: {value}")
    title = f"{cases}, mode={result.protocol['mode']}"
    table(title, ["metric", "mean", "std", "95 % interval", "unit"], rows)
    log.info(f"scores: {output / 'scores.csv'}")
    for name, path in (("pictures", output / "cases"), ("report", output / "index.html")):
        if path.exists():
            log.info(f"{name}: {path}")


def _ends(result: EvaluationResult, name: str) -> str:
    """Return the interval of a mean, or the range of cases that are too few for one."""
    low, high = result.interval(name)
    if math.isfinite(low):
        return f"[{score_text(name, low)}, {score_text(name, high)}]"
    if len(result.values(name)) < 2:
        return "-"
    return "range " + " to ".join(score_text(name, end) for end in result.extent(name))
