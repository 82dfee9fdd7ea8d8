"""The settings, examples and summary of `vae3d prepare`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import NAME, AtLeast, Settings
from vae3d.data.config import DataConfig, SyntheticConfig
from vae3d.settings.command import Command


@dataclass
class PrepareConfig(Settings):
    """The settings of a preparation: scans to a store."""

    shard: Annotated[str | None, NAME] = None
    """K/N prepares only that part of the cases, on one of N machines; a last run without it joins
    them."""
    workers: Annotated[int, AtLeast(0)] = 0
    """Threads; 0 is one per core, at most 16."""
    verify: bool = False
    """Read every stored file again and prepare damaged ones again."""
    data: DataConfig = field(default_factory=SyntheticConfig)
    """The cases to prepare."""


COMMAND = Command(
    name="prepare",
    summary="copy scans into a store for fast patches; train and eval do it by themselves",
    about=(
        "Copies scans into a compressed store from which patches are read in less than a "
        "millisecond. The same command again resumes it."
    ),
    config=PrepareConfig,
    run="vae3d.commands.prepare_run:prepare",
    examples=(
        ("vae3d prepare data=ct data.root=/scans", "into a folder below stores/"),
        ("vae3d prepare data=ct data.root=/scans data.spacing=[2,1,1]", "resampled"),
        (
            "vae3d prepare data=ct data.root=/scans data.store=/big shard=1/4",
            "a part of the cases",
        ),
    ),
    options={"data": ("synthetic", "ct", "mri", "images_2d")},
    interrupted="the same command resumes with the cases that are missing",
)
