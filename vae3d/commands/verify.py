"""The settings, examples and summary of `vae3d verify`."""

from dataclasses import dataclass
from typing import Annotated

from vae3d.bounds import PATH, Settings
from vae3d.settings.command import Command


@dataclass
class VerifyConfig(Settings):
    """The settings of a verification."""

    folder: Annotated[str | None, PATH] = None
    """Folder of a run, a store, latents, weights or a report, or one that holds some of them."""
    accept: bool = False
    """Take text files that were edited or removed as they are: no command names them any more."""


COMMAND = Command(
    name="verify",
    summary="check every file of a run, store, latents, weights or report for damage",
    about="Reads every file that has a checksum, and names those that are damaged or were edited.",
    config=VerifyConfig,
    run="vae3d.commands.verify_run:verify",
    examples=(
        ("vae3d verify runs/ct64", "a run: its checkpoints, weights and reports"),
        ("vae3d verify stores/ct-4f1c7b2a90", "the arrays of a store and its catalog"),
        ("vae3d verify latents accept=true", "after you edited its manifest.csv"),
    ),
    plain="folder",
    quick=True,
)
