"""`TrainedRun`: the weights that a training left, and the data that fit them."""

import dataclasses
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vae3d.commands.saved import load_config
from vae3d.commands.train import TrainConfig
from vae3d.data.config import (
    CaseData,
    CTConfig,
    CustomConfig,
    DataConfig,
    Images2DConfig,
    MRIConfig,
    ScansConfig,
)
from vae3d.data.intensity import IntensityContract
from vae3d.errors import ConfigError, RunError
from vae3d.model.vae import CustomVAE
from vae3d.model.weights import CONFIG_FILE
from vae3d.runtime.plain import from_plain
from vae3d.runtime.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedRun:
    """A run folder, or a folder of weights that stands by itself.

    `which` weights of a run: `best`, `latest`, or `auto` for the best where there are any.
    """

    folder: RunFolder
    which: str = "auto"

    @classmethod
    def named(cls, run: str | None, which: str) -> "TrainedRun":
        """The run that `run=` names.

        Raises:
            ConfigError: it names none.
        """
        if run is None:
            raise ConfigError("run must name a run folder, for example run=runs/vae3d")
        return cls(RunFolder(Path(run).expanduser()), which)

    @property
    def weights(self) -> Path:
        """The folder of the weights."""
        if (self.folder.path / CONFIG_FILE).exists():
            return self.folder.path
        if self.which != "auto":
            return self.folder.weights(self.which)
        best = self.folder.weights("best")
        return best if best.exists() else self.folder.weights("latest")

    @cached_property
    def settings(self) -> TrainConfig:
        """What the training was asked for.

        Raises:
            RunError: this is no run.
        """
        return load_config(self.folder.config)

    @cached_property
    def model(self) -> CustomVAE:
        """The model, on the CPU until it is placed elsewhere.

        Raises:
            RunError: there are no weights, or they are damaged.
        """
        return CustomVAE.from_pretrained(self.weights)

    @cached_property
    def spacing(self) -> list[float] | None:
        """The spacing (D, H, W) in mm that the weights were trained under, if it was one.

        Raises:
            RunError: the weights say something else.
        """
        spacing: list[float] | None = self._contract("spacing", list[float] | None)
        if spacing is not None and (len(spacing) != 3 or not all(s > 0 for s in spacing)):
            raise RunError(
                f"{self.folder.path}: its weights' spacing must be three numbers, got {spacing}"
            )
        return spacing

    @cached_property
    def contract(self) -> IntensityContract:
        """How scans found their intensity range in the training.

        Raises:
            RunError: the weights do not say so.
        """
        contract: IntensityContract = self._contract("intensity contract", IntensityContract)
        return contract

    def _contract(self, what: str, kind: Any) -> Any:
        key = what.partition(" ")[0]
        try:
            return from_plain(kind, self.model.contract.get(key), key)
        except ConfigError as error:
            raise RunError(f"{self.folder.path}: its weights hold no {what}: {error}") from error

    def fitting(self, offered: IntensityContract, spatial_dims: int) -> IntensityContract:
        """The weights' own contract, for data that offer one of the same kind.

        Raises:
            ConfigError: the data are of another kind, or have other axes.
        """
        path, own = self.folder.path, self.contract
        if spatial_dims != self.model.spatial_dims:
            raise ConfigError(
                f"the weights of {path} are for {self.model.spatial_dims}D data, "
                f"these are {spatial_dims}D"
            )
        if (own.kind, own.unit) != (offered.kind, offered.unit):
            raise ConfigError(
                f"the weights of {path} expect {own.kind} in {own.unit}, "
                f"these data give {offered.kind} in {offered.unit}"
            )
        return own

    def check_spacing(self, found: list[float] | None) -> None:
        """Raises a ConfigError for data of another spacing than the weights expect."""
        if found != self.spacing:
            raise ConfigError(
                f"the weights of {self.folder.path} expect a spacing of {self.spacing} mm, "
                f"these data have {found}"
            )

    def data(self, chosen: DataConfig) -> CaseData:
        """The run's own data with what was given replaced, or others, in the weights' spacing.

        Raises:
            ConfigError: a key does not fit the run's data, or they came from a custom Dataset.
        """
        if isinstance(chosen, ScansConfig) and chosen.spacing is None:
            return replace(chosen, spacing=tuple(self.spacing) if self.spacing else None)
        if isinstance(chosen, CaseData):
            return chosen
        trained = self.settings.data
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

    def scans(self, root: str, **given: Any) -> ScansConfig:
        """Scans below a folder, or one of them, as these weights take them, whatever they saw.

        `given` are fields of ScansConfig.
        """
        values = {**given, "root": root, "store": None, "cache_gib": 0.0}
        ends = (self.contract.low, self.contract.high)
        if self.model.spatial_dims == 2:
            return Images2DConfig(**values)
        values["spacing"] = tuple(self.spacing) if self.spacing else None
        if self.contract.kind == "percentiles":
            return MRIConfig(**values, percentiles=ends)
        return CTConfig(**values, window=ends)


def _replaced(data: CaseData, values: dict[str, Any]) -> CaseData:
    known = {entry.name for entry in dataclasses.fields(data)}
    for key in values:
        if key not in known and values[key] is not None:
            raise ConfigError(f"data.{key} does not fit the run's data ({type(data).__name__})")
    return replace(data, **{k: v for k, v in values.items() if k in known})
