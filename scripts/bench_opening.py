"""Seconds that a command takes beyond imports until it needs the first voxel of its cases.

    python scripts/bench_opening.py [--cases 10 1000] [--rounds 3] [--no-store]

Each measurement is a process of its own. The command first runs on eight scans, so that everything
is imported, and then on the others: `train` up to its first step, `eval` up to its first
reconstruction, `inspect` up to its first trial patch. The store was prepared before; with
--no-store the scans themselves are read. CPU seconds are user and system of all threads.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from unittest import mock

import nibabel
import numpy as np

SIDE = 32
"""Voxels along each axis of a scan: few, so that what is linear in cases shows."""
WARM = 8
"""Scans of the first run of a process, which imports everything."""
ENDS = {
    "train": "vae3d.trainer.trainer.Trainer.fit",
    "eval": "vae3d.evaluation.evaluator.Evaluator.evaluate",
    "inspect": "vae3d.commands.inspect_run.reading",
}
"""The call of each command at which its cases are open."""


@dataclass(frozen=True)
class Opening:
    """What one command took to open its cases: the medians of all rounds, in seconds."""

    command: str
    store: bool
    cases: int
    wall: float
    cpu: float


class _Reached(BaseException):
    """The cases are open."""


def main() -> int:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-store", action="store_true")
    parser.add_argument("--open", nargs=2, metavar=("COMMAND", "CASES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        command, count = arguments.open
        opened(command, WARM, not arguments.no_store)
        wall, cpu = opened(command, int(count), not arguments.no_store)
        sys.stdout.write(json.dumps([wall, cpu]))
        return 0
    rows = measure(arguments.cases, arguments.rounds, store=not arguments.no_store)
    sys.stdout.write(table(rows))
    return 0


def table(rows: Sequence[Opening]) -> str:
    """Return the measurements as a Markdown table."""
    head = "| command | cases | store | seconds | CPU seconds |\n|---|---|---|---|---|\n"
    lines = (
        f"| {row.command} | {row.cases} | {'yes' if row.store else 'no'} "
        f"| {row.wall:.2f} | {row.cpu:.2f} |\n"
        for row in rows
    )
    return head + "".join(lines)


def measure(counts: Sequence[int], rounds: int, *, store: bool = True) -> list[Opening]:
    """Measure all commands on folders of these numbers of scans, alternating between them."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as work:
        for count in (WARM, *counts):
            make_scans(Path(work, f"scans{count}"), count)
            if store:
                words = [f"data.root=scans{count}", f"data.store=store{count}"]
                run(Path(work), "-m", "vae3d", "prepare", "data=ct", *words)
            # The run that `eval` opens, which has seen no step but the first.
            train = [*words_of("train", count, store)]
            run(Path(work), "-m", "vae3d", *train, f"name=scored{count}")
        for number in range(rounds):
            for command in ENDS:
                for count in counts if number % 2 else reversed(counts):
                    options = [] if store else ["--no-store"]
                    text = run(Path(work), __file__, *options, "--open", command, str(count))
                    wall, cpu = json.loads(text)
                    found.setdefault((command, count), []).append((wall, cpu))
    return [
        Opening(command, store, count, *map(statistics.median, zip(*times, strict=True)))
        for (command, count), times in sorted(found.items())
    ]


def make_scans(folder: Path, count: int) -> None:
    """Write CT-like scans, one folder each, with a list of them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        voxels = rng.normal(0, 300, (SIDE,) * 3).astype(np.int16)
        scan = folder / f"patient{number:05d}"
        scan.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 1.5, 1])), scan / "ct.nii.gz")


def words_of(command: str, count: int, store: bool) -> list[str]:
    """Return the words of a command on a folder of scans."""
    place = f"data.store=store{count}" if store else "data.store=null"
    data = ["data=ct", f"data.root=scans{count}", place]
    words = {
        "train": [*data, "model=tiny", "patching.size=16", "trainer.steps=1"],
        "eval": [f"run=runs/scored{count}", "split=all", f"output=report{os.getpid()}"],
        "inspect": [*data, f"output=inspect{os.getpid()}"],
    }
    return [command, *words[command]]


def opened(command: str, count: int, store: bool) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of a command in this process, until its cases are open."""
    from vae3d.cli import main as vae3d

    name = f"name=opened{count}_{os.getpid()}"
    words = [*words_of(command, count, store), *([name] if command == "train" else [])]
    with stopping(command), mock.patch.object(sys, "argv", ["vae3d", *words]):
        wall, cpu = time.perf_counter(), time.process_time()
        with contextlib.suppress(_Reached), contextlib.redirect_stdout(sys.stderr):
            raise RuntimeError(f"{' '.join(words)} ended with {vae3d()}")
        return time.perf_counter() - wall, time.process_time() - cpu


@contextlib.contextmanager
def stopping(command: str) -> Iterator[None]:
    """Let a command end where its cases are open."""

    def stop(*_: object, **__: object) -> NoReturn:
        raise _Reached

    with mock.patch(ENDS[command], stop):
        yield


def run(work: Path, *words: str) -> str:
    """Return what a Python process prints that works in the folder `work`."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    script = [str(Path(word).resolve()) if word == __file__ else word for word in words]
    return subprocess.run(
        [sys.executable, *script], cwd=work, env=environment, stdout=subprocess.PIPE, text=True,
        check=True,
    ).stdout  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
