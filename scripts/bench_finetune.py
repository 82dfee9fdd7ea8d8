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
import shlex
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.trials import Trials, row, scores

SUBJECTS, FEW, SCORED = 24, 12, 12
"""Subjects of the base, of the short trainings, and those that are scored."""


@dataclass(frozen=True)
class Bench:
    """The trials, how long trainings take, and the numbers of subjects."""

    trials: Trials
    base_steps: int
    steps: int
    counts: tuple[int, int, int]

    def pair(self, first: str, second: str, seed: int) -> tuple[float, float]:
        """Mean PSNR on the scored subjects from the weights of the base, and from scratch."""
        subjects = self.trials.shuffled(second, seed)
        # Of one kind, the subjects of the base are left out.
        others = subjects[self.counts[0] :] if first == second else subjects
        few = others[: self.counts[1]]
        scored = others[self.counts[1] : self.counts[1] + self.counts[2]]
        if len(scored) < self.counts[2]:
            sys.exit(f"{self.trials.scans[second]}: too few scans for {first}:{second}")
        base_cases = {"train": self.trials.shuffled(first, seed)[: self.counts[0]]}
        train, cases = self.trials.train, {"train": few, "test": scored}
        base = train(f"base_{first}_{seed}", first, seed, self.base_steps, base_cases)
        tuned = train(
            f"{first}_to_{second}_{seed}", second, seed, self.steps, cases, f"init_from={base}"
        )
        scratch = train(f"scratch_{second}_{seed}_of_{first}", second, seed, self.steps, cases)
        return mean_psnr(tuned), mean_psnr(scratch)


def mean_psnr(run: Path) -> float:
    """Mean PSNR of the test cases of a run."""
    return statistics.fmean(case["psnr"] for case in scores(run).values())


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
    named = {kind: path for kind, path in scans.items() if path is not None}
    trials = Trials(arguments.folder, named, shlex.split(arguments.train))
    bench = Bench(trials, arguments.base_steps, arguments.steps, tuple(arguments.counts))
    pairs = [tuple(pair.split(":")) for pair in arguments.pairs]
    for kind in {kind for pair in pairs for kind in pair} - {*named}:
        parser.error(f"--{kind} must name a folder of scans for these pairs")
    row("weights of, trained on", "seed", "from them", "from scratch", "gain, dB")
    row(*["---"] * 5)
    for first, second in pairs:
        gains = []
        for seed in arguments.seeds:
            tuned, scratch = bench.pair(first, second, seed)
            gains.append(tuned - scratch)
            row(
                f"{first}, {second}",
                f"{seed}",
                f"{tuned:.2f}",
                f"{scratch:.2f}",
                f"{gains[-1]:+.2f}",
            )
        if len(gains) > 1:
            row(f"{first}, {second}", "mean", "", "", f"{statistics.fmean(gains):+.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
