"""`vae3d eval`: scores the weights of a run on its held-out cases, or on other data."""

import dataclasses
import math
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae3d import __version__
from vae3d.config import EvalConfig, TrainConfig, describe, load_config
from vae3d.data.build import StoreConfig, build_source, open_cases
from vae3d.data.cases import Cases
from vae3d.data.custom import CustomConfig
from vae3d.data.intensity import IntensityContract
from vae3d.data.scans import ScansConfig
from vae3d.data.source import CaseData, CaseSource, DataConfig
from vae3d.errors import ConfigError, DataError, RunError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.figures import Picture
from vae3d.evaluation.gallery import chosen_places
from vae3d.evaluation.page import write_page
from vae3d.evaluation.probes import probes
from vae3d.evaluation.report import EvaluationResult
from vae3d.inference import Reconstructor
from vae3d.logger import build_loggers
from vae3d.logger.base import Logger
from vae3d.logger.console import ProgressBar, announce, table
from vae3d.model.vae import CustomVAE
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.plain import from_plain
from vae3d.runtime.precision import Precision
from vae3d.runtime.run_folder import RunFolder


def evaluate(config: EvalConfig, source: CaseSource | None = None) -> EvaluationResult:
    """Scores a run; scores and pictures lie in its `report/<mode>`.

    Raises:
        UserError: there is no such run, or the data do not fit its weights.
    """
    if config.run is None:
        raise ConfigError("run must name a run folder, for example run=runs/vae3d")
    folder = RunFolder(Path(config.run).expanduser())
    with start_distributed(config.device) as distributed:
        return Evaluation(config, folder, source, distributed).run()


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of one run."""

    config: EvalConfig
    folder: RunFolder
    source: CaseSource | None
    distributed: Distributed

    def run(self) -> EvaluationResult:
        """Scores the cases, writes the report, says what came out."""
        trained = load_config(self.folder.config)
        model = self._model()
        cases, indices = self._cases(trained, model)
        evaluator = self._evaluator(trained, model, cases)
        output = Path(self.config.output or self.folder.report(self.config.mode)).expanduser()
        logger = self._logger(trained)
        failed = True
        try:
            result = evaluator.evaluate(indices, output, logger)
            if self.distributed.is_main:
                result.write(output)
                log_scores(logger, result)
            if evaluator.config.report:
                page = Page(evaluator, result, indices, output, self._about(trained, model))
                page.write(self.folder, logger, self.distributed)
            failed = False
        finally:
            logger.close(failed)
        if self.distributed.is_main:
            show(result, output)
        return result

    def _about(self, trained: TrainConfig, model: CustomVAE) -> dict[str, Any]:
        return {
            "name": trained.name,
            "weights": str(self.folder.weights(self._which())),
            "parameters": sum(p.numel() for p in model.parameters()),
            "command": " ".join(["vae3d eval", *sys.argv[1:]]),
            "versions": {
                "vae3d": __version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
                "device": str(self.distributed.device),
            },
            "config": describe(trained),
        }

    def _which(self) -> str:
        if self.config.weights != "auto":
            return self.config.weights
        return "best" if self.folder.weights("best").exists() else "latest"

    def _model(self) -> CustomVAE:
        return CustomVAE.from_pretrained(self.folder.weights(self._which()))

    def _cases(self, trained: TrainConfig, model: CustomVAE) -> tuple[Cases, list[int]]:
        data = chosen_data(self.config.data, trained.data, spacing_of(model, self.folder))
        source = self.source
        if source is None and not isinstance(data, StoreConfig):
            source = build_source(data)
        if source is not None:
            # Known before hours go into preparing them.
            self._check(model, source.contract, source.spatial_dims)
        cases = open_cases(data, ProgressBar("prepare", self.distributed.is_main), source)
        cases.contract = self._check(model, cases.contract, cases.spatial_dims)
        spacing = spacing_of(model, self.folder)
        if isinstance(data, StoreConfig) and cases.spacing != spacing:
            raise ConfigError(
                f"the weights of {self.folder.path} expect a spacing of {spacing} mm, "
                f"the store was prepared with {cases.spacing}"
            )
        own = self.source is None and _same_cases(data, trained.data)
        return cases, self._indices(cases, own)

    def _check(
        self, model: CustomVAE, offered: IntensityContract, spatial_dims: int
    ) -> IntensityContract:
        if spatial_dims != model.spatial_dims:
            raise ConfigError(
                f"the weights of {self.folder.path} are for {model.spatial_dims}D data, "
                f"these are {spatial_dims}D"
            )
        return contract_of(model, offered, self.folder)

    def _indices(self, cases: Cases, own: bool) -> list[int]:
        split = self.config.split
        if split == "auto" and own:
            split = "test" if cases.splits["test"].size else "val"
        if split in ("auto", "all"):
            names = [name for name, members in cases.splits.items() if members.size]
        else:
            names = [split]
        found = [cases.survey(name, self._say) for name in names]
        indices = sorted(np.concatenate(found).tolist()) if found else []
        if not indices:
            raise DataError(f"split={split} holds no case; say split=all to score every case")
        return indices

    def _evaluator(self, trained: TrainConfig, model: CustomVAE, cases: Cases) -> Evaluator:
        settings = with_training_patches(self.config.evaluation, trained)
        model = model.placed(self.distributed.device)
        precision = Precision(settings.precision, self.distributed.device)
        reconstructor = Reconstructor(model, self.config.mode, settings.inference, precision)
        return Evaluator(reconstructor, cases, settings, self.distributed)

    def _logger(self, trained: TrainConfig) -> Logger:
        if not self.distributed.is_main:
            return Logger()
        return build_loggers(self.config.logger, self.folder.path, trained.name, describe(trained))

    def _say(self, text: str) -> None:
        if self.distributed.is_main:
            announce(text)


def spacing_of(model: CustomVAE, folder: RunFolder) -> list[float] | None:
    """The spacing (D, H, W) in mm that the weights were trained under, if it was one.

    Raises:
        RunError: the weights say something else.
    """
    try:
        spacing: list[float] | None = from_plain(
            list[float] | None, model.contract.get("spacing"), "spacing"
        )
    except ConfigError as error:
        raise RunError(f"{folder.path}: its weights hold no spacing: {error}") from error
    if spacing is not None and len(spacing) != 3:
        raise RunError(f"{folder.path}: its weights' spacing must be three numbers, got {spacing}")
    return spacing


def chosen_data(chosen: DataConfig, trained: DataConfig, spacing: list[float] | None) -> CaseData:
    """The data to score: the run's own with what was given replaced, or others.

    Raises:
        ConfigError: a key does not fit the run's data, or they came from a custom Dataset.
    """
    if isinstance(chosen, CaseData):
        data = chosen
        if isinstance(data, ScansConfig) and data.spacing is None:
            data = replace(data, spacing=tuple(spacing) if spacing else None)
        return data
    if isinstance(trained, CustomConfig):
        raise ConfigError(
            "the run was trained on a custom Dataset, which is never taken from a saved file; "
            f"say data=custom data.dataset={trained.dataset} if that is what you want to run"
        )
    assert isinstance(trained, CaseData)
    given = {k: v for k, v in dataclasses.asdict(chosen).items() if v is not None}
    if "root" in given:
        given.setdefault("list", None)
    return _replaced(trained, given)


def _replaced(data: CaseData, values: dict[str, Any]) -> CaseData:
    known = {entry.name for entry in dataclasses.fields(data)}
    for key in values:
        if key not in known and values[key] is not None:
            raise ConfigError(f"data.{key} does not fit the run's data ({type(data).__name__})")
    return replace(data, **{k: v for k, v in values.items() if k in known})


def _same_cases(data: CaseData, trained: DataConfig) -> bool:
    keys = ("root", "list", "count", "shape", "seed", "dataset")
    return type(data) is type(trained) and all(
        getattr(data, key, None) == getattr(trained, key, None) for key in keys
    )


def contract_of(
    model: CustomVAE, offered: IntensityContract, folder: RunFolder
) -> IntensityContract:
    """The contract that the weights were trained under.

    Raises:
        ConfigError: the data are of another kind.
    """
    try:
        contract: IntensityContract = from_plain(
            IntensityContract, model.contract.get("intensity"), "intensity"
        )
    except ConfigError as error:
        raise RunError(
            f"{folder.path}: its weights hold no intensity contract: {error}"
        ) from error
    if (contract.kind, contract.unit) != (offered.kind, offered.unit):
        raise ConfigError(
            f"the weights of {folder.path} expect {contract.kind} in {contract.unit}, "
            f"these data give {offered.kind} in {offered.unit}"
        )
    return contract


def with_training_patches(settings: EvaluationConfig, trained: TrainConfig) -> EvaluationConfig:
    """Patches as large as those of the training, where no size was given."""
    if settings.inference.size is not None:
        return settings
    size = trained.evaluation.inference.size
    return replace(settings, inference=replace(settings.inference, size=size))


@dataclass(frozen=True)
class Page:
    """The report of an evaluation, a file that opens in a browser."""

    evaluator: Evaluator
    result: EvaluationResult
    indices: list[int]
    output: Path
    about: dict[str, Any]

    def write(self, folder: RunFolder, logger: Logger, distributed: Distributed) -> None:
        """Writes `index.html`; every rank must ask, the main one writes."""
        views = self.evaluator.views(self.result, self.indices)
        if not distributed.is_main:
            return
        path = self.output / "index.html"
        curves = folder.metrics if folder.metrics.exists() else None
        write_page(path, self.result, views, self._probes(), self.about, curves)
        logger.log_file("report", path)

    def _probes(self) -> list[tuple[str, Picture]]:
        """What the best and the worst case's latents show when one moves them."""
        if not self.result.latents:
            return []
        chosen = chosen_places(self.result)
        numbers = [self.indices[place] for place in dict.fromkeys(chosen.values())]
        first, *others = (self.evaluator.cases[number] for number in (numbers[0], numbers[-1]))
        images = [case.range.to_model(case.volume().data) for case in (first, *others)]
        second = images[1] if len(numbers) > 1 else None
        return probes(
            self.evaluator.reconstructor,
            images[0],
            second,
            self.result.latents,
            first.range,
            first.spacing,
            self.evaluator.config.seed,
        )


def log_scores(logger: Logger, result: EvaluationResult) -> None:
    """The scores of every case, and their means."""
    rows = [[c.case_id, *(c.scores.get(n) for n in result.names)] for c in result.cases]
    logger.log_table("cases", ["case", *result.names], rows)
    logger.log(0, result.means, "eval")


def show(result: EvaluationResult, output: Path) -> None:
    """The means on the terminal, and where the pictures lie."""
    references = [name for name in result.names if name.startswith("psnr@")]
    rows = [
        [name, _number(result.mean(name)), _number(result.spread(name)), result.unit(name)]
        for name in (*result.means, *references)
    ]
    title = f"{len(result.cases)} cases, mode={result.protocol['mode']}"
    table(title, ["metric", "mean", "std", "unit"], rows)
    announce(f"scores: {output / 'scores.csv'}")
    for what, path in (("pictures", output / "cases"), ("report", output / "index.html")):
        if path.exists():
            announce(f"{what}: {path}")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)
