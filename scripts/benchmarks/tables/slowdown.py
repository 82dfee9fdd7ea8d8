"""`vae3d eval` and `vae3d encode` beside one busy process, as multiples of their idle time.

Made-up CTs from a store, evaluated patch by patch and encoded in one pass, in one process. The
table `portions` has the same of training steps.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.busy import BusyProcess
from benchmarks.result import Block
from benchmarks.tables.evaluation import Sizes, described, score, trained
from benchmarks.timing import alternate, timed
from vae3d.cli.compose import composed
from vae3d.commands.encode_run import encode

TITLE = "Beside a busy process"
PEERS = ()
SIZES = {
    "full": Sizes(cases=4, shape=(192, 192, 192), rounds=5, seconds=1200.0),
    "quick": Sizes(cases=2, shape=(64, 64, 112), rounds=2),
    "miniature": Sizes(model="tiny", cases=1, shape=(16, 16, 16), size=16, rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Train one step on made-up scans, and time the commands idle and beside a busy process."""
    with tempfile.TemporaryDirectory() as name, BusyProcess() as busy:
        folder = Path(name)
        run = trained(folder, sizes)
        calls: dict[str, Callable[[], object]] = {
            "`vae3d eval evaluation=scores`": partial(score, run, sizes, "evaluation=scores"),
            "`vae3d encode`": partial(write_latents, run, folder),
        }
        measures = {f"{title}, idle": timed(call) for title, call in calls.items()}
        measures |= {f"{title}, busy": busy.beside(timed(call)) for title, call in calls.items()}
        samples = alternate(measures, sizes.rounds, sizes.seconds, warm_up=False)
    rows = [
        [
            title,
            *(f"{samples.spread(f'{title}, {state}').median:.1f}" for state in ("idle", "busy")),
            samples.ratio(f"{title}, busy", f"{title}, idle").shown(),
        ]
        for title in calls
    ]
    heads = ["", "idle s", "busy s", "busy / idle"]
    return [Block.of(described(sizes), heads, rows, samples)]


def write_latents(run: Path, folder: Path) -> None:
    """Encode all cases of the run into a new folder."""
    with tempfile.TemporaryDirectory(dir=folder) as output:
        encode(composed("encode", f"run={run}", f"output={output}/latents"))
