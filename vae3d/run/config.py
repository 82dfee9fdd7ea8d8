"""`TrainConfig`: the settings of a training, which its run records."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from vae3d.bounds import CODE, NAME, PATH, Settings
from vae3d.data.config import DataConfig, SyntheticConfig
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.files.paths import possible_path, user_path
from vae3d.logger.config import LoggersConfig
from vae3d.loss.config import LossConfig
from vae3d.model.config import VAEConfig
from vae3d.patching.config import PatchingConfig, RandomPatchesConfig
from vae3d.trainer.config import TrainerConfig


@dataclass
class TrainConfig(Settings):
    """The settings of a training; its run is stored in `runs_dir/name`."""

    name: Annotated[str, NAME] = "vae3d"
    """Name of the run, a folder below runs_dir; the same command again resumes it."""
    runs_dir: Annotated[str, PATH] = "runs"
    """Folder of all runs."""
    seed: int = 0
    """Seed of weights, patches and noise; the same seed gives the same training."""
    plugins: Annotated[list[str], CODE] = field(default_factory=list)
    """Python modules to import first, which register losses, metrics, norms or activations of your
    own; taken from the command line only."""
    init_from: Annotated[str | None, PATH] = None
    """Weights to start from: a run (its best ones), a folder of weights, or hub:owner/name; the
    architecture is theirs, with the keys of model that are typed, unless model= is typed."""
    init_strict: bool = True
    """Refuse weights that do not fit the architecture; false leaves out the tensors that do not
    fit, which keep their random values."""
    data: DataConfig = field(default_factory=SyntheticConfig)
    """The cases to train on."""
    patching: PatchingConfig = field(default_factory=RandomPatchesConfig)
    """Which patches of a volume an epoch takes."""
    model: VAEConfig = field(default_factory=VAEConfig)
    """The architecture."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """The training loop."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What training minimises."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How validation reconstructs and what it draws."""
    logger: LoggersConfig = field(default_factory=LoggersConfig)
    """Where losses and scores go besides console and metrics.csv."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name or Path(self.name).is_absolute() or ".." in Path(self.name).parts:
            raise ConfigError(f"name must be a path below runs_dir, got {self.name!r}")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return possible_path(user_path(self.runs_dir) / self.name)
