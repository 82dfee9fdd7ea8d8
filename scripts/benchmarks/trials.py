"""`Trials`: trainings of `vae3d train` below one folder that resume, and the scores of each."""

import csv
import json
import random
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

DATA = {"mr": "mri", "ct": "ct"}
"""The option of `data` for each kind of scan."""
CPU_SECONDS = "cpu_seconds.json"
"""File of a run: the CPU seconds of all starts of its training."""


@dataclass(frozen=True)
class Trials:
    """Runs in `folder`, of scans of each kind, with the settings `extra` for every training."""

    folder: Path
    scans: Mapping[str, Path]
    extra: Sequence[str] = ()

    def shuffled(self, kind: str, seed: int) -> list[Path]:
        """Return the scans of a kind in an order that only the seed decides."""
        paths = self.sorted(kind)
        random.Random(seed).shuffle(paths)
        return paths

    def sorted(self, kind: str) -> list[Path]:
        """Return the scans of a kind by name."""
        return sorted(self.scans[kind].glob("*.nii*"))

    def train(
        self, name: str, kind: str, seed: int, steps: int, cases: Mapping[str, Sequence[Path]],
        *more: str,
    ) -> Path:  # fmt: skip
        """Train a run on cases by split, or resume it; return its folder.

        It is not validated: runs are compared after their last step.
        """
        run = self.folder / name
        if (run / "summary.json").exists():
            return run
        words = [f"data={DATA[kind]}", f"data.list={self._list(name, cases)}"]
        words += ["data.val_fraction=0"] + ([] if "test" in cases else ["data.test_fraction=0"])
        words += [f"name={name}", f"runs_dir={self.folder}", f"seed={seed}"]
        before = children_cpu_seconds()
        command("train", *words, f"trainer.steps={steps}", *more, *self.extra)
        earlier = cpu_seconds(run) or 0.0
        text = json.dumps(earlier + children_cpu_seconds() - before)
        (run / CPU_SECONDS).write_text(text, encoding="utf-8")
        return run

    def _list(self, name: str, cases: Mapping[str, Sequence[Path]]) -> Path:
        listed = self.folder / "lists" / f"{name}.csv"
        listed.parent.mkdir(parents=True, exist_ok=True)
        rows = [(path.resolve(), split) for split, paths in cases.items() for path in paths]
        with listed.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "split"), *rows])
        return listed


def scores(run: Path, *more: str) -> dict[str, dict[str, float]]:
    """Return the scores of the test cases of a run, by case and metric; it is scored once."""
    report = run / "report/full"
    if not (report / "summary.json").exists():
        quiet = ("evaluation.media=[]", "evaluation.report=false")
        command("eval", f"run={run}", "split=test", *quiet, *more)
    with (report / "scores.csv").open(newline="", encoding="utf-8") as file:
        return {row.pop("case_id"): numbers(row.items()) for row in csv.DictReader(file)}


def numbers(cells: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Return the cells that are numbers."""
    found = {}
    for name, text in cells:
        try:
            found[name] = float(text)
        except ValueError:
            continue
    return found


def cpu_seconds(run: Path) -> float | None:
    """Return the CPU seconds of a training, None if they are not known."""
    path = run / CPU_SECONDS
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def children_cpu_seconds() -> float:
    """Return the CPU seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def command(*words: str) -> None:
    """Print and run a command of vae3d; a failure ends the script."""
    sys.stderr.write(f"vae3d {shlex.join(words)}\n")
    done = subprocess.run(
        [sys.executable, "-m", "vae3d", *words], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)


def row(*cells: object) -> None:
    """Print a row of a Markdown table."""
    sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    sys.stdout.flush()
