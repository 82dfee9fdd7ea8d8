"""The settings, examples and summary of `vae3d eval`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.autoencoder.config import AutoencoderConfig, OwnConfig
from vae3d.bounds import PATH, OneOf, Settings
from vae3d.data.config import DataConfig, RunData
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import MODES
from vae3d.logger.config import LoggersConfig
from vae3d.run.trained_config import TrainedConfig
from vae3d.runtime.choices import SPLITS
from vae3d.settings.command import Command


@dataclass
class EvalConfig(TrainedConfig):
    """The settings of an evaluation."""

    mode: Annotated[str, OneOf(*MODES)] = "full"
    """Reconstruct whole volumes (full), or patch by patch and stitched (patch)."""
    split: Annotated[str, OneOf("auto", *SPLITS, "all")] = "auto"
    """Cases to score; auto is the run's test cases (validation cases where there are none), and
    all cases of other data."""
    output: Annotated[str | None, PATH] = None
    """Folder of scores, pictures and page; null is report/<mode> in the run, and
    report/<autoencoder>-<mode>-<data> in the working folder for those of other programs."""
    autoencoder: AutoencoderConfig = field(default_factory=OwnConfig)
    """The autoencoder to score."""
    data: DataConfig = field(default_factory=RunData)
    """The cases to score."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """What is measured and shown."""
    logger: LoggersConfig = field(default_factory=LoggersConfig)
    """Where scores and the page go besides the report's folder."""

    def check_given(self) -> None:
        """Raise a ConfigError unless one autoencoder is named, and the data of a foreign one."""
        if isinstance(self.autoencoder, OwnConfig):
            super().check_given()
            return
        if self.run is not None:
            raise ConfigError("run= and autoencoder= name two autoencoders; type one of them")
        if isinstance(self.data, RunData):
            raise ConfigError(
                "an autoencoder of another program has no data of its own; name the data, for "
                "example data=ct data.root=/scans"
            )
        Settings.check_given(self)


COMMAND = Command(
    name="eval",
    summary="score a run's reconstructions, whole or patch by patch, and show them",
    about=(
        "Reconstructs the held-out cases of a run, or other scans, and writes scores.csv, "
        "summary.json, pictures and a page for a browser."
    ),
    config=EvalConfig,
    run="vae3d.commands.eval_run:evaluate",
    examples=(
        ("vae3d eval run=runs/ct64", "the run's test cases, whole volumes"),
        ("vae3d eval run=runs/ct64 mode=patch", "patch by patch, as it was trained"),
        ("vae3d eval run=runs/ct64 data.root=/other/scans output=other", "other scans"),
        (
            "vae3d eval autoencoder=diffusers autoencoder.path=vae data=ct data.root=/ct",
            "an autoencoder of another program",
        ),
    ),
    plain="run",
    interrupted="the same command scores all cases again",
)
