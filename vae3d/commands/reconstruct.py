"""The settings, examples and summary of `vae3d reconstruct`."""

from dataclasses import dataclass
from typing import Annotated, Any

from vae3d.bounds import PATH, OneOf
from vae3d.data.config import CHANNEL, CHECKS, MILLIMETRES, NONFINITE, ON_ERROR
from vae3d.errors import ConfigError
from vae3d.run.trained_config import ToScansConfig
from vae3d.settings.command import Command


@dataclass
class ReconstructConfig(ToScansConfig):
    """The settings of a reconstruction: scans through a model and back."""

    output: Annotated[str, PATH] = "reconstructed"
    """Folder to write to; for a single scan a file."""
    channel: Annotated[int | None, CHANNEL] = None
    """Component of scans that have several (4D, RGB, complex), counted from 0."""
    voxel: Annotated[Any, MILLIMETRES] = None
    """Millimetres per voxel (depth, height, width) of .npy files, which hold none."""
    on_error: Annotated[str, OneOf(*ON_ERROR)] = "fail"
    """Stop at a scan that cannot be read, or skip it and count it."""
    nonfinite: Annotated[str, OneOf(*NONFINITE)] = "fail"
    """Refuse NaN and infinite voxels, or fill them with the scan's lowest value."""
    check: Annotated[str, OneOf(*CHECKS)] = "auto"
    """If values do not fit the intensity range: auto refuses what cannot be right and warns of the
    rest, fail refuses both, warn only warns, off does not check."""

    def check_given(self) -> None:
        """Raise a ConfigError if no scans or no weights are named."""
        if self.input is None:
            raise ConfigError(
                "input must name a scan or a folder of scans, for example input=/scans"
            )
        super().check_given()


COMMAND = Command(
    name="reconstruct",
    summary="send scans through a model and back onto their own grids",
    about=(
        "Encodes and decodes a scan or a folder of scans, and writes the reconstructions on the "
        "scans' own grids, in their units and number types."
    ),
    config=ReconstructConfig,
    run="vae3d.commands.reconstruct_run:reconstruct",
    examples=(
        ("vae3d reconstruct run=runs/ct64 input=/scans/a.nii.gz output=a.nii.gz", "one scan"),
        ("vae3d reconstruct run=runs/ct64 input=/scans output=back", "a folder of scans"),
        ("vae3d reconstruct run=runs/ct64 input=/scans existing=skip", "keep what exists"),
    ),
    plain="run",
    maps_large_blocks=True,
    interrupted="the same command resumes",
)
