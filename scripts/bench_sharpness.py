"""PSNR, SSIM and sharpness on held-out scans after trainings with other settings.

    python scripts/bench_sharpness.py runs/sharp --ct /ct_64 --mr /mr_64 --steps 2500 \\
        --try "l1: loss=l1_kl" --try "sharp: loss=sharp"
    python scripts/bench_sharpness.py runs/sharp --ct /ct_64 --seconds 180 --seeds 0 1 2 \\
        --try "now:" --try "overlap: model.output=overlap"

Each trial has a name and settings of `vae3d train`. Every fourth scan is held out, and scored
whole. The other trials are compared with the first one: differences are taken case by case and
seed by seed, and shown as `mean +- standard deviation`. With `--seconds` a trial is trained for as
many steps as that CPU time gives, by the cost of a step that is measured first; this number is
kept, so that a script that was stopped resumes.
"""

import argparse
import json
import math
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.trials import Trials, children_cpu_seconds, command, cpu_seconds, row, scores

HELD_OUT = 4
"""One scan of this many is held out."""
METRICS = ("psnr", "ssim", "power_fine", "power_finest", "fsc", "staircase")
PLACES = {"psnr": 2}
MEASURED_STEPS = (10, 60)
"""Steps of the two short trainings whose difference is the cost of a step."""


@dataclass(frozen=True)
class Trial:
    """A name, and the settings that it stands for."""

    name: str
    settings: list[str]

    @classmethod
    def of(cls, text: str) -> "Trial":
        """Return the trial of `NAME: SETTINGS`."""
        name, _, settings = text.partition(":")
        return cls(name.strip(), shlex.split(settings))


@dataclass(frozen=True)
class Bench:
    """Trials, and how long each is trained."""

    trials: Trials
    steps: int
    seconds: float | None
    fold: int

    def run(self, trial: Trial, kind: str, seed: int) -> Path:
        """Train one trial on a kind of scan; return its run."""
        paths = self.trials.sorted(kind)
        cases = {"train": [p for n, p in enumerate(paths) if n % HELD_OUT != self.fold]}
        cases["test"] = paths[self.fold :: HELD_OUT]
        steps = self.steps if self.seconds is None else self._affordable(trial, kind, cases)
        name = f"{kind}_{trial.name}_{seed}"
        return self.trials.train(name, kind, seed, steps, cases, *trial.settings)

    def _affordable(self, trial: Trial, kind: str, cases: dict[str, list[Path]]) -> int:
        """Return the steps that `seconds` of CPU time give."""
        kept = self.trials.folder / f"{kind}_{trial.name}.steps.json"
        if not kept.exists():
            costs = []
            for steps in MEASURED_STEPS:
                before = children_cpu_seconds()
                name = f"cost_of_{kind}_{trial.name}_{steps}"
                self.trials.train(name, kind, 0, steps, cases, *trial.settings)
                costs.append(children_cpu_seconds() - before)
            of_step = (costs[1] - costs[0]) / (MEASURED_STEPS[1] - MEASURED_STEPS[0])
            kept.write_text(json.dumps(round(float(self.seconds or 0) / of_step)))
        return int(json.loads(kept.read_text(encoding="utf-8")))


def main() -> int:
    """Train, score, and print a table for each kind of scan."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of the runs")
    parser.add_argument("--ct", type=Path, help="folder of CT scans")
    parser.add_argument("--mr", type=Path, help="folder of MR scans")
    parser.add_argument(
        "--try", action="append", required=True, dest="tried", metavar="NAME: SETTINGS"
    )
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seconds", type=float, help="CPU seconds of steps, instead of --steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--fold", type=int, default=HELD_OUT - 1, choices=range(HELD_OUT))
    parser.add_argument("--train", default="", help="more settings for every training")
    parser.add_argument(
        "--compare", action="store_true", help="write a page that compares the first seed's runs"
    )
    arguments = parser.parse_args()
    scans = {kind: path for kind in ("ct", "mr") if (path := getattr(arguments, kind))}
    if not scans:
        parser.error("--ct or --mr must name a folder of scans")
    trials = Trials(arguments.folder, scans, shlex.split(arguments.train))
    bench = Bench(trials, arguments.steps, arguments.seconds, arguments.fold)
    tried = [Trial.of(text) for text in arguments.tried]
    for kind in scans:
        tabulate(bench, kind, tried, arguments.seeds)
        if arguments.compare:
            runs = [bench.run(trial, kind, arguments.seeds[0]) for trial in tried]
            command("compare", f"runs=[{','.join(map(str, runs))}]", "mode=full")
    return 0


def tabulate(bench: Bench, kind: str, tried: list[Trial], seeds: list[int]) -> None:
    """Print the scores of all trials on a kind of scan, and what differs from the first one."""
    row(kind, "seed", "steps", "CPU s", *METRICS)
    row(*["---"] * (4 + len(METRICS)))
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for trial in tried:
        for seed in seeds:
            run = bench.run(trial, kind, seed)
            found.setdefault(trial.name, []).append(scores(run))
            summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
            spent = cpu_seconds(run)
            cells = [shown(n, mean_of(found[trial.name][-1], n)) for n in METRICS]
            row(trial.name, seed, summary["steps"], f"{spent:.0f}" if spent else "", *cells)
    first, *others = found
    for name in others:
        pairs = [*zip(found[first], found[name], strict=True)]
        row(f"{name} - {first}", "", "", "", *(difference(n, pairs) for n in METRICS))


def mean_of(cases: dict[str, dict[str, float]], metric: str) -> float:
    """Return the mean of a metric over the cases that have it."""
    values = [scores[metric] for scores in cases.values() if metric in scores]
    return statistics.fmean(values) if values else math.nan


def difference(
    metric: str,
    pairs: list[tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]],
) -> str:
    """Return the mean difference over cases and seeds, and its standard deviation."""
    gains = [
        b[case][metric] - a[case][metric]
        for a, b in pairs
        for case in a
        if metric in a[case] and metric in b[case]
    ]
    if not gains:
        return ""
    spread = statistics.stdev(gains) if len(gains) > 1 else math.nan
    places = PLACES.get(metric, 3)
    return f"{statistics.fmean(gains):+.{places}f} +- {spread:.{places}f}"


def shown(metric: str, value: float) -> str:
    """Return a score as text."""
    return "" if math.isnan(value) else f"{value:.{PLACES.get(metric, 3)}f}"


if __name__ == "__main__":
    raise SystemExit(main())
