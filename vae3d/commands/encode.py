"""The settings, examples and summary of `vae3d encode`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import PATH, OneOf
from vae3d.data.config import DataConfig, RunData
from vae3d.run.trained_config import CodecConfig
from vae3d.settings.command import Command


@dataclass
class EncodeConfig(CodecConfig):
    """The settings of an encoding: every case to the posterior of its latent."""

    output: Annotated[str, PATH] = "latents"
    """Folder of the latents, used for nothing else; the same command again resumes it."""
    dtype: Annotated[str, OneOf("float32", "float16")] = "float32"
    """Number type of the latents; float16 halves the files."""
    nifti: bool = False
    """Also write the means as NIfTI, aligned with their scans in a viewer."""
    data: DataConfig = field(default_factory=RunData)
    """The cases to encode."""


COMMAND = Command(
    name="encode",
    summary="write the latents of a data set, for a diffusion model to train on",
    about=(
        "Writes the posterior of every case as one safetensors file with what decodes it onto its "
        "scan's grid, and the statistics that a diffusion model needs. LatentDataset reads them."
    ),
    config=EncodeConfig,
    run="vae3d.commands.encode_run:encode",
    examples=(
        ("vae3d encode run=runs/ct64 output=latents", "the run's own cases, all splits"),
        ("vae3d encode run=runs/ct64 data.root=/other/scans output=other", "other scans"),
        ("vae3d encode run=runs/ct64 memory=2 dtype=float16", "in at most 2 GiB, half the disk"),
    ),
    plain="run",
    maps_large_blocks=True,
    interrupted="the same command resumes with the cases that are missing",
)
