"""The settings, examples and summary of `vae3d probe`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import PATH
from vae3d.data.config import DataConfig, RunData
from vae3d.probing.config import ProbingConfig
from vae3d.settings.command import Command


@dataclass
class ProbeConfig(ProbingConfig):
    """The settings of a probe of latents."""

    latents: Annotated[list[str], PATH] = field(default_factory=list)
    """Folders of vae3d encode, all of one encoder."""
    labels: Annotated[str | None, PATH] = None
    """CSV with a row per case: case_id, one or more labels, and optionally the patient."""
    output: Annotated[str | None, PATH] = None
    """File of the results: .json for all of them, .csv for a row per fold; null writes none."""
    data: DataConfig = field(default_factory=RunData)
    """The scans of the latents, as in data.root=/scans; without them the latents alone are
    probed."""


COMMAND = Command(
    name="probe",
    summary="measure what latents know of labels, by a linear model, next to downsampled scans",
    about=(
        "Fits a linear model to the latents of vae3d encode in cross-validation by patient, and "
        "the same to as many voxels of the downsampled scans. Needs scikit-learn: vae3d[probe]."
    ),
    config=ProbeConfig,
    run="vae3d.commands.probe_run:probe",
    examples=(
        ("vae3d probe latents labels=labels.csv label=sex data.root=/scans", "a class"),
        ("vae3d probe a b labels=labels.csv label=age group=patient output=age.json", "a number"),
    ),
    plain="latents",
)
