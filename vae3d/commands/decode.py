"""The settings, examples and summary of `vae3d decode`."""

from dataclasses import dataclass
from typing import Annotated, Any

from vae3d.bounds import PATH, Between, LowHigh, OneOf, PerAxis
from vae3d.errors import ConfigError
from vae3d.run.trained_config import ToScansConfig
from vae3d.settings.command import Command

SCALINGS = ("none", "factor", "channels")


@dataclass
class DecodeConfig(ToScansConfig):
    """The settings of a decoding: latents to scans."""

    output: Annotated[str, PATH] = "decoded"
    """Folder to write to; for a single latent a file."""
    scaling: Annotated[str, OneOf(*SCALINGS)] = "none"
    """How plain latents were normalised, which is undone first: by one factor, per channel, or not
    at all."""
    statistics: Annotated[str | None, PATH] = None
    """Statistics for scaling: a folder of vae3d encode, or weights that hold them; null uses those
    of run."""
    like: Annotated[str | None, PATH] = None
    """A scan, or a latent of vae3d encode, whose grid plain latents are decoded onto."""
    spacing: Annotated[Any, PerAxis(Between(0.001, 1000), whole=False, nullable=True)] = None
    """Millimetres per voxel of plain latents without a grid, one number or one per axis; null is
    the weights' own, or 1."""
    range: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Values [low, high] that [-1, 1] becomes for plain latents; null is the weights' window."""
    any_weights: bool = False
    """Earlier name of allow=[weights]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.any_weights and "weights" not in self.allow:
            self.allow = [*self.allow, "weights"]

    def check_given(self) -> None:
        """Raise a ConfigError if no latents or no weights are named."""
        if self.input is None:
            raise ConfigError("input must name latents, for example input=latents")
        super().check_given()


COMMAND = Command(
    name="decode",
    summary="decode latents into scans, encoded ones or those of a diffusion model",
    about=(
        "Decodes latents of vae3d encode onto the grids of their scans, in their units and number "
        "types, or plain latents of a diffusion model (.npy, .safetensors, NIfTI)."
    ),
    config=DecodeConfig,
    run="vae3d.commands.decode_run:decode",
    examples=(
        ("vae3d decode run=runs/ct64 input=latents output=decoded", "what vae3d encode wrote"),
        (
            "vae3d decode run=runs/ct64 input=a.npy scaling=channels statistics=latents",
            "samples of a diffusion model",
        ),
        ("vae3d decode run=runs/ct64 input=a.npy like=/scans/a.nii.gz", "on the grid of a scan"),
    ),
    plain="run",
    maps_large_blocks=True,
    interrupted="the same command resumes",
)
