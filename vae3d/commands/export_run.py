"""`vae3d export`: weights for another program."""

import json
from pathlib import Path

from vae3d.exchange.config import ExportConfig
from vae3d.exchange.exporting import export_weights
from vae3d.exchange.facts import FACTS_FILE, read_facts
from vae3d.logger.console import print_lines


def export(config: ExportConfig) -> Path:
    """Write the files, and print how much each differs from the model; return their folder.

    Raises:
        UserError: the network cannot be exported, or `output` holds something else.
    """
    folder = export_weights(config)
    print_lines([f"{folder / FACTS_FILE}", *map(_line, read_facts(folder).files.items())])
    return folder


def _line(file: tuple[str, dict[str, float | None]]) -> str:
    name, values = file
    difference = json.dumps(values.get("difference"))
    return f"{name}  largest difference {difference}".replace("difference null", "not compared")
