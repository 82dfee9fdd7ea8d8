"""`ForeignRun`: an autoencoder of another program, in the place of a run."""

import contextlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vae3d.autoencoder.config import AutoencoderConfig
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData, DataConfig
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.foreign.autoencoder import ForeignAutoencoder
from vae3d.foreign.build import name_of, open_autoencoder
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.progress import Progress
from vae3d.runtime.run_folder import RunFolder
from vae3d.scans.source import CaseSource
from vae3d.values.agreement import Agreement
from vae3d.values.contract import InputContract

log = logging.getLogger(__name__)


class ReportFolder(RunFolder):
    """Where the reports of an autoencoder that has no run are: `report/<name>-...`."""

    def report(self, name: str) -> Path:
        """Return the folder of one evaluation, whose name is also that of a comparison."""
        return self.path.with_name(f"{self.path.name}-{name}")


@dataclass(frozen=True)
class ForeignRun:
    """An autoencoder of another program, and the ranks that compute with it.

    The intensity range and the spacing are those of the data's settings: its weights know none.
    """

    config: AutoencoderConfig
    distributed: Distributed
    spatial_dims: int

    is_alone = True
    """There is no run of its training."""

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls, config: AutoencoderConfig, data: DataConfig, device: str, source: CaseSource | None
    ) -> Iterator["ForeignRun"]:
        """Open the autoencoder within the context, before any data; every rank calls this.

        Raises:
            UserError: it cannot be opened.
        """
        with start_distributed(device, key="device") as distributed:
            run = cls(config, distributed, source.spatial_dims if source else _axes_of(data))
            log.info(f"autoencoder: {run.model.network.name}, {run.weights}")
            yield run

    @property
    def name(self) -> str:
        """The short name of the autoencoder."""
        return name_of(self.config)

    @property
    def folder(self) -> RunFolder:
        """The folder of its reports."""
        return ReportFolder(Path("report") / self.name)

    @property
    def weights(self) -> str:
        """The file, folder or callable that the settings name."""
        return str(getattr(self.config, "path", ""))

    @cached_property
    def model(self) -> ForeignAutoencoder:
        """The autoencoder, on the device of this rank."""
        return open_autoencoder(self.config, self.spatial_dims, self.distributed.device)

    @cached_property
    def agreement(self) -> Agreement:
        """That nothing is known which data could differ from."""
        return Agreement(self.name, InputContract(), self.spatial_dims)

    @property
    def marks(self) -> list[str]:
        """What distinguishes its reports from those of the same name: its settings."""
        return [json.dumps(self.describe()["autoencoder"], sort_keys=True, default=str)]

    def describe(self) -> dict[str, Any]:
        """Return its name and its settings as plain values."""
        kind = type(self.config).__name__.removesuffix("Config").lower()
        return {"name": self.name, "autoencoder": {"kind": kind, **asdict(self.config)}}

    def data(self, chosen: DataConfig) -> CaseData:
        """Return the chosen data, as their own settings read them."""
        assert isinstance(chosen, CaseData), "checked before"
        return chosen

    def cases(
        self, chosen: DataConfig, progress: Progress, source: CaseSource | None = None
    ) -> Cases:
        """Open the cases.

        Raises:
            UserError: they cannot be opened, or have other axes than the autoencoder.
        """
        cases = open_cases(self.data(chosen), progress, source)
        if cases.spatial_dims != self.spatial_dims:
            raise ConfigError(
                f"{self.name} was opened for {self.spatial_dims}D data, these are "
                f"{cases.spatial_dims}D"
            )
        return cases

    def evaluation(self, config: EvaluationConfig, mode: str) -> EvaluationConfig:
        """Return the settings of an evaluation, as far as this autoencoder allows them.

        Raises:
            ConfigError: it has no posterior to sample, or its memory cannot be limited.
        """
        model = self.model
        if "memory" in config.inference.typed and config.inference.memory != "auto":
            raise ConfigError(
                "evaluation.inference.memory is for vae3d's own networks, which can go slab by "
                f"slab; {model.network.name} cannot: mode=patch with smaller "
                "evaluation.inference.size takes less"
            )
        if config.sample and not model.has_posterior:
            raise ConfigError(
                f"evaluation.sample=true: {model.network.name} has no posterior to sample"
            )
        if config.sample and mode == "patch" and model.network.frames:
            raise ConfigError(
                "evaluation.sample=true: the latents of video patches are no part of those of "
                "the volume; use mode=full"
            )
        latents = config.latents
        if latents and not model.latent_channels:
            log.warning(f"the latents of {model.network.name} are no grid: they are not measured")
            latents = False
        # With less memory it would not take another way.
        unlimited = replace(config.inference, memory=None)
        return replace(config, latents=latents, inference=unlimited)


def _axes_of(data: DataConfig) -> int:
    """Return the number of axes of data, as far as their settings know it; 3 otherwise."""
    shape = getattr(data, "shape", None)
    return len(shape) if shape else int(getattr(data, "spatial_dims", 3))
