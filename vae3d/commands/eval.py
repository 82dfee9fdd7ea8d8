"""`vae3d eval`: scores the weights of a run on its held-out cases, or on other data."""

import dataclasses
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vae3d.config import EvalConfig, TrainConfig, describe, load_config
from vae3d.data.build import StoreConfig, build_source, open_cases
from vae3d.data.cases import Cases
from vae3d.data.custom import CustomConfig
from vae3d.data.intensity import IntensityContract
from vae3d.data.scans import ScansConfig
from vae3d.data.source import CaseData, CaseSource, DataConfig
from vae3d.errors import ConfigError, DataError, RunError
from vae3d.evaluation.evaluator import EvaluationConfig, Evaluator
from vae3d.evaluation.metrics import unit_of
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
            failed = False
        finally:
            logger.close(failed)
        if self.distributed.is_main:
            result.write(output)
            show(result, output, cases.contract.unit)
        return result

    def _model(self) -> CustomVAE:
        which = self.config.weights
        if which == "auto":
            which = "best" if self.folder.weights("best").exists() else "latest"
        return CustomVAE.from_pretrained(self.folder.weights(which))

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


def show(result: EvaluationResult, output: Path, unit: str) -> None:
    """The means on the terminal, and where the pictures lie."""
    rows = [
        [name, _number(result.mean(name)), _number(result.spread(name)), unit_of(name, unit)]
        for name in result.metrics
    ]
    title = f"{len(result.cases)} cases, mode={result.protocol['mode']}"
    table(title, ["metric", "mean", "std", "unit"], rows)
    announce(f"scores: {output / 'scores.csv'}")
    pictures = output / "cases"
    if pictures.exists():
        announce(f"pictures: {pictures}")


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else str(value)
