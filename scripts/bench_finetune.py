"""What trained weights are worth: PSNR after a few steps from them, and from random weights.

    python scripts/bench_finetune.py runs/finetune --mr /mr_64
    python scripts/bench_finetune.py runs/finetune --mr /mr_64 --ct /ct_64 \\
        --pairs mr:mr ct:mr mr:ct

For a pair A:B, a base is trained on 24 subjects of A for 2,000 steps; 12 other subjects of B are
then trained on for 200 steps, once from the base (`init_from=`) and once from scratch, and both
are scored whole on 12 further subjects of B, which neither has seen. Every seed draws other
subjects. All settings are the defaults of `vae3d train`, or what `--train` adds to every training.
The commands are printed; the script resumes where it was stopped, and prints what is done already
without doing it again.
"""

import argparse
import csv
import json
import random
import shlex
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SUBJECTS, FEW, SCORED = 24, 12, 12
"""Subjects of the base, of the short trainings, and those that are scored."""
DATA = {"mr": "mri", "ct": "ct"}


@dataclass(frozen=True)
class Bench:
    """Where the scans are, how long trainings take, and the folder of runs and lists."""

    folder: Path
    scans: dict[str, Path]
    base_steps: int
    steps: int
    counts: tuple[int, int, int]
    extra: list[str]

    def subjects(self, kind: str, seed: int) -> list[Path]:
        """The scans of a kind in an order that only the seed decides."""
        paths = sorted(self.scans[kind].glob("*.nii*"))
        random.Random(seed).shuffle(paths)
        return paths

    def base(self, kind: str, seed: int) -> str:
        """Trains the base; its name."""
        name = f"base_{kind}_{seed}"
        train = self.subjects(kind, seed)[: self.counts[0]]
        return self.train(name, kind, seed, self.base_steps, {"train": train})

    def pair(self, first: str, second: str, seed: int) -> tuple[float, float]:
        """Mean PSNR on the scored subjects from the weights of the base, and from scratch."""
        subjects = self.subjects(second, seed)
        # Of one kind, the subjects of the base are left out.
        others = subjects[self.counts[0] :] if first == second else subjects
        few = others[: self.counts[1]]
        scored = others[self.counts[1] : self.counts[1] + self.counts[2]]
        if len(scored) < self.counts[2]:
            sys.exit(f"{self.scans[second]}: too few scans for {first}:{second}")
        cases = {"train": few, "test": scored}
        base = self.folder / self.base(first, seed)
        names = (f"{first}_to_{second}_{seed}", f"scratch_{second}_{seed}_of_{first}")
        tuned = self.train(names[0], second, seed, self.steps, cases, f"init_from={base}")
        scratch = self.train(names[1], second, seed, self.steps, cases)
        return self.score(tuned), self.score(scratch)

    def train(
        self, name: str, kind: str, seed: int, steps: int, cases: dict[str, list[Path]], *more: str
    ) -> str:
        """Trains a run on a list, or resumes it; its name."""
        listed = self.folder / "lists" / f"{name}.csv"
        listed.parent.mkdir(parents=True, exist_ok=True)
        rows = [(path.resolve(), split) for split, paths in cases.items() for path in paths]
        with listed.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "split"), *rows])
        # No validation: both are scored after their last step.
        words = [f"data={DATA[kind]}", f"data.list={listed}", "data.val_fraction=0"]
        words += [] if "test" in cases else ["data.test_fraction=0"]
        words += [f"name={name}", f"runs_dir={self.folder}", f"seed={seed}"]
        if (self.folder / name / "summary.json").exists():
            return name
        command("train", *words, f"trainer.steps={steps}", *more, *self.extra)
        return name

    def score(self, name: str) -> float:
        """Mean PSNR of the test cases of a run."""
        summary = self.folder / name / "report/full/summary.json"
        if not summary.exists():
            quiet = ("evaluation.media=[]", "evaluation.report=false")
            command("eval", f"run={self.folder / name}", "split=test", *quiet)
        return float(json.loads(summary.read_text())["scores"]["psnr"]["mean"])


def command(*words: str) -> None:
    """Prints and runs a command of vae3d; a failure ends the script."""
    sys.stderr.write(f"vae3d {shlex.join(words)}\n")
    done = subprocess.run(
        [sys.executable, "-m", "vae3d", *words], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(done.returncode)


def main() -> int:
    """Trains, scores, and prints a row for each pair and seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the runs")
    parser.add_argument("--mr", type=Path, help="folder of MR scans")
    parser.add_argument("--ct", type=Path, help="folder of CT scans")
    parser.add_argument("--pairs", nargs="+", default=["mr:mr"], metavar="A:B")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--base-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs=3, default=(SUBJECTS, FEW, SCORED))
    parser.add_argument("--train", default="", help="more settings for every training")
    arguments = parser.parse_args()
    scans = {"mr": arguments.mr, "ct": arguments.ct}
    bench = Bench(
        arguments.folder,
        {kind: path for kind, path in scans.items() if path is not None},
        arguments.base_steps,
        arguments.steps,
        tuple(arguments.counts),
        shlex.split(arguments.train),
    )
    pairs = [tuple(pair.split(":")) for pair in arguments.pairs]
    for kind in {kind for pair in pairs for kind in pair} - {*bench.scans}:
        parser.error(f"--{kind} must name a folder of scans for these pairs")
    sys.stdout.write("| weights of, trained on | seed | from them | from scratch | gain, dB |\n")
    sys.stdout.write("|---|---|---|---|---|\n")
    for first, second in pairs:
        gains = []
        for seed in arguments.seeds:
            tuned, scratch = bench.pair(first, second, seed)
            gains.append(tuned - scratch)
            row(f"{first}, {second}", f"{seed}", f"{tuned:.2f}", f"{scratch:.2f}", gains[-1])
        if len(gains) > 1:
            row(f"{first}, {second}", "mean", "", "", statistics.mean(gains))
    return 0


def row(*cells: object) -> None:
    """Prints a row of the table."""
    texts = [f"{cell:+.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
    sys.stdout.write(f"| {' | '.join(texts)} |\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
