"""`ProbeConfig`: the latents and labels of a probe, and how it is fitted and scored."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import PATH, Above, Between, OneOf, Settings, SomeOf
from vae3d.data.config import DataConfig, RunData
from vae3d.runtime.choices import SPLITS

TASKS = ("auto", "classes", "numbers")
SUMMARIES = ("pooled", "grid")


@dataclass
class ProbeConfig(Settings):
    """The settings of a probe of latents."""

    latents: Annotated[list[str], PATH] = field(default_factory=list)
    """Folders of vae3d encode, all of one encoder."""
    labels: Annotated[str | None, PATH] = None
    """CSV with a row per case: case_id, one or more labels, and optionally the patient."""
    label: str | None = None
    """Column of the labels; null is the only one there is."""
    group: str | None = None
    """Column of the patients, whose cases stay in one fold; null is one called patient, subject or
    group, else the patients of the scans, else each scan is its own."""
    split: Annotated[str, OneOf(*SPLITS, "all")] = "all"
    """Cases that are probed, by their split in the latents."""
    task: Annotated[str, OneOf(*TASKS)] = "auto"
    """Whether labels are classes or numbers; auto is numbers for more than 10 different ones, all
    of them numbers."""
    summaries: Annotated[list[str], SomeOf(*SUMMARIES, least=1)] = field(
        default_factory=lambda: list(SUMMARIES)
    )
    """What the probe sees of a latent: mean and deviation of each channel (pooled), and the latent
    averaged to a small grid (grid)."""
    grid: Annotated[int, Between(1, 32)] = 4
    """Voxels of the small grid along each axis."""
    folds: Annotated[int, Between(2, 100)] = 5
    """Parts of the cases, of which each is scored by a probe that was fitted to the others."""
    repeats: Annotated[int, Between(1, 1000)] = 3
    """Times that the cases are divided into folds, each time in another way."""
    strength: Annotated[float | None, Above(0)] = None
    """Strength of the L2 penalty of the standardised features; null chooses one in each fold, by
    folds of its training cases."""
    seed: int = 0
    """Seed of the folds."""
    output: Annotated[str | None, PATH] = None
    """File of the results: .json for all of them, .csv for a row per fold; null writes none."""
    data: DataConfig = field(default_factory=RunData)
    """The scans of the latents, as in data.root=/scans; without them the latents alone are
    probed."""
