"""`vae3d runs`: the runs of a folder as a table, or as JSON."""

import dataclasses
import json
import sys

from vae3d.commands.runs import RunsConfig
from vae3d.errors import DataError
from vae3d.files.paths import user_path
from vae3d.logger.console import table
from vae3d.runtime.messages import counted
from vae3d.runtime.run_list import COLUMNS, RunRecord, cells, find_runs, in_order


def runs(config: RunsConfig) -> list[RunRecord]:
    """Print the runs below `folder`; return them.

    Raises:
        DataError: there is no such folder.
    """
    folder = user_path(config.folder)
    if not folder.is_dir():
        raise DataError(f"folder: no such folder: {folder}; type vae3d runs FOLDER")
    found = in_order(find_runs(folder), config.sort)
    if config.json:
        sys.stdout.write(json.dumps([*map(dataclasses.asdict, found)], indent=2) + "\n")
    else:
        table(f"{counted(len(found), 'run')} in {folder}", COLUMNS, [*map(cells, found)])
    return found
