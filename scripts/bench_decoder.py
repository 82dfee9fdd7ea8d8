"""A training step of the decoder alone, from patches and from stored latents, to a full step.

    python scripts/bench_decoder.py --sizes 32 64
    python scripts/bench_decoder.py --sizes 64 --halo 0 3 7   # latent voxels around each patch

Steps are those of vae3d's Trainer on a batch that stays, measured alternately in one process; a
ratio is taken round by round. The peak of the memory, with weights and the state of the optimizer,
is measured of a whole batch, in a process for each contender. Reading is not measured.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vae3d.runtime.heap import map_large_blocks

map_large_blocks()  # before torch is imported

import torch  # noqa: E402

from bench_memory import MODELS, model_config  # noqa: E402
from benchmarks.step_memory import measure_step  # noqa: E402
from benchmarks.timing import Measure, alternate, timed  # noqa: E402
from benchmarks.training import Job, training_step  # noqa: E402
from vae3d.budget.memory import TrainingMemory, TrainingStep  # noqa: E402
from vae3d.loss.config import LossConfig  # noqa: E402
from vae3d.runtime.distributed import choose_device  # noqa: E402
from vae3d.runtime.threads import follow_quota  # noqa: E402
from vae3d.trainer.config import TrainerConfig  # noqa: E402

FULL = "full step"
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Contender:
    """A step that trains `train`, from patches, or from latents with a halo."""

    name: str
    train: str
    halo: int | None = None


def contenders(halos: Sequence[int]) -> list[Contender]:
    """Return a full step, a decoder step from patches, and one from latents for each halo."""
    stored = [Contender(f"decoder, latents, halo {halo}", "decoder", halo) for halo in halos]
    return [Contender(FULL, "all"), Contender("decoder, patches", "decoder"), *stored]


def time_rows(arguments: argparse.Namespace, side: int) -> Iterator[list[str]]:
    """Yield a row for each contender: milliseconds, and the ratio to a full step."""
    settings = {"precision": arguments.precision, "device": arguments.device}
    jobs = {
        c.name: Job(arguments.model, arguments.batch, side, {**settings, "train": c.train}, c.halo)
        for c in contenders(arguments.halo)
    }
    device = choose_device(arguments.device)
    steps = {name: training_step(job) for name, job in jobs.items()}
    measure = cpu_timed if arguments.cpu_time else partial(timed, device=device)
    calls = {name: measure(step) for name, step in steps.items()}
    samples = alternate(calls, arguments.rounds, arguments.seconds)
    for name in jobs:
        spread = samples.spread(name)
        yield [name, f"{1000 * spread.median:,.0f}", samples.ratio(name, FULL).shown()]


def cpu_timed(call: Callable[[], object]) -> Measure:
    """Return what measures the seconds that all cores compute for a call.

    On a machine that others use too, these are the seconds of the call alone.
    """

    def measure() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return measure


def memory_rows(arguments: argparse.Namespace, side: int) -> Iterator[list[str]]:
    """Yield a row for each contender: MiB at the peak, planned ones, and the ratio of peaks."""
    peaks = {}
    for contender in contenders(arguments.halo):
        values = vars(arguments) | {"sizes": [side], "memory_of": contender.name}
        del values["cpu_time"]
        done = subprocess.run(
            [sys.executable, __file__, *words_of(values)],
            check=True, text=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        peak, planned = json.loads(done.stdout)
        peaks[contender.name] = peak
        ratio = f"{peak / peaks[FULL]:.2f}" if peak else "unknown"
        sizes = (f"{number / MEBIBYTE:,.0f}" for number in (peak or 0, planned))
        yield [contender.name, *sizes, ratio]


def peak_of(arguments: argparse.Namespace) -> tuple[int | None, int]:
    """Return the bytes at the peak of one contender's step, and those that are planned."""
    found = {c.name: c for c in contenders(arguments.halo)}[arguments.memory_of]
    (side,) = arguments.sizes
    model = model_config(arguments.model)
    trainer = TrainerConfig(
        precision=arguments.precision, train=found.train, batch_size=arguments.batch
    )
    patch, box = (side,) * 3, None
    if found.halo is not None:
        box = tuple(-(-side // f) + 2 * found.halo for f in model.factor)
    device = choose_device(arguments.device)
    step = TrainingStep.of(model, LossConfig(), trainer, device, patch, box=box)
    plan = TrainingMemory(step).plan(None)
    assert plan is not None
    return measure_step(step, plan.blocks).peak, plan.bytes


def words_of(values: dict[str, Any]) -> list[str]:
    """Return the words of a command line with these values."""
    words = []
    for name, value in values.items():
        if value is not None:
            items = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}", *map(str, items)]
    return words


def show(caption: str, heads: Sequence[str], rows: Iterator[list[str]]) -> None:
    """Print a table."""
    sys.stdout.write(f"\n{caption}\n\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=MODELS, default="small")
    parser.add_argument("--sizes", nargs="*", type=int, default=[32, 64])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--halo", nargs="*", type=int, default=[0])
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--cpu-time", action="store_true", help="seconds of all cores, on a CPU")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    follow_quota()
    if arguments.memory_of:
        sys.stdout.write(json.dumps(peak_of(arguments)))
        return 0
    for side in arguments.sizes:
        what = f"{arguments.model}, batch {arguments.batch} of {side}^3, {arguments.precision}"
        threads = torch.get_num_threads()
        show(f"Time of a step: {what}, {threads} threads.", ["step", "ms", "to a full step"],
             time_rows(arguments, side))  # fmt: skip
        show(f"Peak of the memory: {what}.", ["step", "MiB", "planned", "to a full step"],
             memory_rows(arguments, side))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
