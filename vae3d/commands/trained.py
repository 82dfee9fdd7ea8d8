"""`TrainedRun`: the weights of a training, and the data that fit them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import CONFIG_FILE
from vae3d.commands.saved import load_config
from vae3d.commands.train import TrainConfig
from vae3d.commands.trained_config import CodecConfig, TrainedConfig
from vae3d.data.config import (
    CaseData,
    CTConfig,
    DataConfig,
    Images2DConfig,
    MRIConfig,
    ScansConfig,
)
from vae3d.errors import ConfigError, RunError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision
from vae3d.runtime.run_folder import RunFolder
from vae3d.values.intensity import IntensityContract


@dataclass(frozen=True)
class TrainedRun:
    """A run folder, or a folder of weights without a run, and the ranks that compute with it.

    `which` chooses the weights of a run: `best`, `latest`, or `auto` for the best ones if they
    exist, else the latest.
    """

    folder: RunFolder
    which: str
    distributed: Distributed

    @classmethod
    @contextlib.contextmanager
    def opened(cls, config: TrainedConfig) -> Iterator["TrainedRun"]:
        """Open the run of `run=` within the context; every rank calls this.

        Raises:
            ConfigError: `run` is None.
        """
        if config.run is None:
            raise ConfigError("run must name a run folder, for example run=runs/vae3d")
        with start_distributed(config.device) as distributed:
            yield cls(RunFolder(Path(config.run).expanduser()), config.weights, distributed)

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
        """The settings of the training.

        Raises:
            RunError: the folder is no run.
        """
        return load_config(self.folder.config)

    @cached_property
    def model(self) -> CustomVAE:
        """The model, on the CPU until it is moved.

        Raises:
            RunError: the weights are missing or damaged.
        """
        return CustomVAE.from_pretrained(self.weights)

    def codec(self, config: CodecConfig) -> Codec:
        """Return the encoder and decoder of the model, on this rank's device."""
        device = self.distributed.device
        precision = Precision(config.precision, device)
        return Codec(ModelRunner(self.model, device, precision, config.memory))

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """The spacing (D, H, W) in mm that the weights were trained with, None for the scans' own.

        Raises:
            RunError: the weights are missing or damaged.
        """
        return self.model.contract.spacing

    @property
    def contract(self) -> IntensityContract:
        """How the training chose the intensity range of a scan.

        Raises:
            RunError: the weights hold no intensity contract.
        """
        contract = self.model.contract.intensity
        if contract is None:
            raise RunError(f"{self.folder.path}: its weights hold no intensity contract")
        return contract

    def adopt(self, offered: IntensityContract, spatial_dims: int) -> IntensityContract:
        """Return the weights' own contract, for data whose contract is of the same kind and unit.

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
                f"these data have {offered.kind} in {offered.unit}"
            )
        return own

    def check_spacing(self, spacing: list[float] | None) -> None:
        """Raise a ConfigError if data have another spacing than the weights expect."""
        expected = self.spacing and [*self.spacing]
        if spacing != expected:
            raise ConfigError(
                f"the weights of {self.folder.path} expect a spacing of {expected} mm, "
                f"these data have {spacing}"
            )

    def data(self, chosen: DataConfig) -> CaseData:
        """Return the run's own data with the chosen keys replaced, or other data.

        Both have the weights' spacing.

        Raises:
            ConfigError: a key does not fit the run's data, or they came from a custom Dataset.
        """
        return chosen.for_run(self.settings.data, self.spacing)

    def scans(self, root: str, **given: Any) -> ScansConfig:
        """Return the settings to read scans below a folder, or one scan, for these weights.

        The run's own data may be of any kind. `given` are fields of ScansConfig.
        """
        values = {**given, "root": root, "store": None, "cache_gib": 0.0}
        limits = (self.contract.low, self.contract.high)
        if self.model.spatial_dims == 2:
            return Images2DConfig(**values)
        values["spacing"] = self.spacing
        if self.contract.kind == "percentiles":
            return MRIConfig(**values, percentiles=limits)
        return CTConfig(**values, window=limits)
