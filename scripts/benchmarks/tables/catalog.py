"""Opening the catalog of a large store in a fresh process: seconds and memory."""

import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import bench_catalog
from benchmarks.processes import SCRIPTS, environment, module_command
from benchmarks.result import Block
from benchmarks.timing import Spread, timed
from vae3d.files.atomic import write_json
from vae3d.store.catalog import write_catalog
from vae3d.store.settings import CATALOG, SETTINGS, StoreSettings

TITLE = "Catalogs"
PEERS = ()
LINE = re.compile(r"(?P<what>\S.*): (?P<seconds>[\d.]+) s, (?P<mib>-?\d+) MiB above start")


@dataclass(frozen=True)
class Sizes:
    """The number of made-up cases, and how often the catalog is opened."""

    cases: int = 1_000_000
    rounds: int = 3


SIZES = {
    "full": Sizes(),
    "quick": Sizes(cases=5_000, rounds=2),
    "miniature": Sizes(cases=10, rounds=0),
}


def measure(sizes: Sizes) -> list[Block]:
    """Write a catalog, and open it in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contract = {"kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU"}
        settings = StoreSettings({"kind": "CT"}, "fail", "lz4", 3, contract)
        write_json(folder / SETTINGS, asdict(settings))
        cases = bench_catalog.made_up(sizes.cases)
        written = timed(lambda: write_catalog(folder / CATALOG, cases))()
        size = (folder / CATALOG).stat().st_size / 2**20
        opened = [opening(folder) for _ in range(sizes.rounds)]
    samples: dict[str, list[float]] = {"written": [written]}
    rows = [["written", f"{written:.2f}", "", ""]]
    for what in opened[0] if opened else {}:
        samples[what] = [one[what][0] for one in opened]
        spread, mib = Spread.of(samples[what]), max(one[what][1] for one in opened)
        rows.append(
            [what, f"{spread.median:.2f}", f"{spread.low:.2f} to {spread.high:.2f}", f"{mib:.0f}"]
        )
    caption = (
        f"{sizes.cases:,} cases, {size:.0f} MiB, {sizes.rounds} fresh processes; each step after "
        "the one above it, memory above the start."
    )
    return [Block(caption, ["", "seconds", "range", "MiB"], rows, samples)]


def opening(folder: Path) -> dict[str, tuple[float, float]]:
    """Return seconds and MiB of each step of a process that opens the catalog."""
    done = subprocess.run(
        module_command("bench_catalog", "--open", str(folder)),
        env=environment(),
        cwd=SCRIPTS,
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {m["what"]: (float(m["seconds"]), float(m["mib"])) for m in LINE.finditer(done.stderr)}
