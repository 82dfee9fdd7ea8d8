"""The settings, examples and summary of `vae3d inspect`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import PATH, AtLeast, Between, OneOf, Settings
from vae3d.data.config import DATA, DataConfig, SyntheticConfig
from vae3d.patching.config import PatchingConfig, RandomPatchesConfig
from vae3d.runtime.choices import SPLITS
from vae3d.settings.command import Command


@dataclass
class InspectConfig(Settings):
    """The settings of an inspection: the cases and some of their patches."""

    output: Annotated[str, PATH] = "inspect"
    """Folder for cases.csv, summary.json and montage.png."""
    count: Annotated[int, Between(1, 400)] = 16
    """Patches in the montage."""
    split: Annotated[str, OneOf(*SPLITS)] = "train"
    """Split whose patches are drawn."""
    rows: Annotated[int, AtLeast(0)] = 30
    """Cases in the table on the terminal; cases.csv holds all."""
    seed: int = 0
    """Seed of the patches."""
    data: DataConfig = field(default_factory=SyntheticConfig)
    """The cases to look at."""
    patching: PatchingConfig = field(default_factory=RandomPatchesConfig)
    """Which patches a training would see."""


COMMAND = Command(
    name="inspect",
    summary="show the cases and their patches as a training would see them",
    about=(
        "Lists what is odd about the cases (spacing, NaN, units, twins in two splits), counts and "
        "times patches, and writes a picture of random ones."
    ),
    config=InspectConfig,
    run="vae3d.commands.inspect_run:inspect",
    examples=(
        ("vae3d inspect data=ct data.root=/scans", "a folder of CT scans"),
        (
            "vae3d inspect data=mri data.root=/mr patching.size=[32,64,64] count=64",
            "other patches",
        ),
        ("vae3d inspect data=store data.root=stores/scans-0123456789", "a store"),
    ),
    options={"data": tuple(DATA)},
)
