"""The settings, examples and summary of `vae3d runs`."""

from dataclasses import dataclass
from typing import Annotated

from vae3d.bounds import PATH, OneOf, Settings
from vae3d.settings.command import Command

SORTS = ("date", "name", "score", "size")


@dataclass
class RunsConfig(Settings):
    """The settings of a list of runs."""

    folder: Annotated[str, PATH] = "runs"
    """Folder whose runs are listed, those of sweeps too."""
    sort: Annotated[str, OneOf(*SORTS)] = "date"
    """Order of the runs: the newest, the best or the largest first, or by name."""
    json: bool = False
    """Print a JSON list with all digits instead of a table."""


COMMAND = Command(
    name="runs",
    summary="list the runs of a folder: state, step, best score, data, date and size",
    about="Lists the runs below a folder from their files, also while they train.",
    config=RunsConfig,
    run="vae3d.commands.runs_run:runs",
    examples=(
        ("vae3d runs", "the runs below runs/"),
        ("vae3d runs runs/sweep sort=score", "the runs of a sweep, the best first"),
        ("vae3d runs /data/runs json=true", "for a script"),
    ),
    plain="folder",
    quick=True,
)
