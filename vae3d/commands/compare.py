"""The settings, examples and summary of `vae3d compare`."""

from dataclasses import dataclass, field
from typing import Annotated

from vae3d.bounds import CODE, PATH, OneOf, Settings
from vae3d.inference.config import MODES
from vae3d.settings.command import Command


@dataclass
class CompareConfig(Settings):
    """The settings of a comparison of reports."""

    run: Annotated[list[str], PATH] = field(default_factory=list)
    """Run folders, or folders with a scores.csv; all are compared with the first one."""
    mode: Annotated[str, OneOf(*MODES)] = "full"
    """Report of each run that is compared: whole volumes (full) or patch by patch (patch)."""
    output: Annotated[str | None, PATH] = None
    """Folder of the tables; null is compare_<the others> next to the first run's scores."""
    plugins: Annotated[list[str], CODE] = field(default_factory=list)
    """Python modules to import first, for reports with metrics of your own; taken from the command
    line only."""


COMMAND = Command(
    name="compare",
    summary="compare the scores of two or more runs case by case",
    about=(
        "Pairs the cases of two or more reports of vae3d eval and prints the differences of every "
        "score with 95 % intervals."
    ),
    config=CompareConfig,
    run="vae3d.commands.compare_run:compare",
    examples=(
        ("vae3d compare runs/ct64 runs/ct96", "two runs, whole volumes"),
        ("vae3d compare runs/a runs/b runs/c mode=patch", "two runs against a first one"),
        ("vae3d compare runs/a other/report output=table", "folders with a scores.csv"),
    ),
    plain="run",
)
