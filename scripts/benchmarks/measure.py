"""Measure one table: `python -m benchmarks.measure NAME SCALE FILE FOLDER CHANGE...`.

The blocks, with the machine and the peers, are written to FILE as JSON. Paths among the changes
are relative to FOLDER.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import describe_machine, version
from benchmarks.table import Table
from vae3d.runtime import threads
from vae3d.runtime.messages import show_messages


def main(name: str, scale: str, file: str, folder: str, *changes: str) -> None:
    """Measure and write."""
    os.chdir(folder)
    show_messages()
    # As the commands do. Earlier versions, which --against measures, have no such function.
    if hasattr(threads, "follow_quota"):
        threads.follow_quota()
    table = Table.load(name)
    # Described first: a table may set the number of threads.
    machine = describe_machine()
    blocks = table.blocks(scale, [*changes])
    measured = {
        "title": table.title,
        "machine": machine,
        "peers": {peer: version(peer) for peer in table.peers},
        "blocks": [asdict(block) for block in blocks],
    }
    Path(file).write_text(json.dumps(measured), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
