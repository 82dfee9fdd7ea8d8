"""Training steps in portions, each on threads of its own, idle and beside one busy process.

Every contender is a process of its own, which steps with vae3d's Trainer on a batch that stays:
the defaults, `trainer.portions=1`, two ranks of one thread with `trainer.portions=1`, and the
defaults of another checkout (`--set earlier=FOLDER`).
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.busy import BusyProcess
from benchmarks.machine import usable_cores
from benchmarks.result import Block
from benchmarks.timing import Samples, alternate
from benchmarks.trainee import Trainee
from benchmarks.training import Job, knows

TITLE = "Training in portions"
PEERS = ()
DEFAULT, WHOLE, RANKS, EARLIER = "default", "`portions=1`", "2 ranks of one thread", "earlier"
STATES = ("idle", "busy")


@dataclass(frozen=True)
class Sizes:
    """Models, batches of patches of a side, how long a contender steps, and how often."""

    models: tuple[str, ...] = ("tiny", "small", "base")
    batches: tuple[int, ...] = (1, 2, 4, 8)
    side: int = 32
    precision: str = "auto"
    ranks: bool = True
    earlier: str = ""
    turn_seconds: float = 0.5
    rounds: int = 7
    seconds: float = 90.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(models=("small",), batches=(4,), rounds=3, seconds=8.0),
    "miniature": Sizes(("tiny",), (1,), side=16, ranks=False, turn_seconds=0.0, rounds=1),
}


@dataclass(frozen=True)
class Contender:
    """A trainee and the settings of `trainer` that it is given."""

    trainee: Trainee
    settings: dict[str, Any] = field(default_factory=dict)


def measure(sizes: Sizes) -> list[Block]:
    """Return a block for each model."""
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(BusyProcess())

        def trainee(ranks: int = 1, threads: int | None = None, source: str = "") -> Trainee:
            return stack.enter_context(Trainee(ranks, threads, source))

        contenders = {DEFAULT: Contender(trainee())}
        if knows("portions"):
            contenders[WHOLE] = Contender(trainee(), {"portions": 1})
        if sizes.ranks and usable_cores() >= 2:
            contenders[RANKS] = Contender(trainee(ranks=2, threads=1), {"portions": 1})
        if sizes.earlier:
            contenders[EARLIER] = Contender(trainee(source=sizes.earlier))
        return [block(model, contenders, busy, sizes) for model in sizes.models]


def block(model: str, contenders: dict[str, Contender], busy: BusyProcess, sizes: Sizes) -> Block:
    """Measure a model at every batch."""
    rows, rounds = [], []
    values: dict[str, list[float]] = {}
    for batch in sizes.batches:
        # Ranks divide the batch.
        fitting = {name: c for name, c in contenders.items() if name != RANKS or batch % 2 == 0}
        memory = {}
        for name, contender in fitting.items():
            settings = {"precision": sizes.precision, **contender.settings}
            job = Job(model, batch, sizes.side, settings)
            memory[name] = contender.trainee.prepare(job, sizes.turn_seconds)
        samples = alternate(measures(fitting, busy), sizes.rounds, sizes.seconds, warm_up=False)
        rows += [row(name, batch, samples, memory[name], sizes) for name in fitting]
        values |= {f"batch {batch}, {name}": found for name, found in samples.values.items()}
        rounds.append(samples.rounds)
    caption = (
        f"`model={model}`, patches of {sizes.side}^3, precision {sizes.precision}, "
        f"{min(rounds)} rounds. Busy: beside a process that keeps one core busy. MiB: the peak of "
        "the first two steps above the imports, weights, data and optimizer included."
    )
    base = WHOLE if WHOLE in contenders else DEFAULT
    heads = ["batch", ""]
    for state in STATES:
        heads += [f"{state}: Mvoxel/s", f"{state}: times {base}"]
    return Block(caption, [*heads, "busy step / idle step", "MiB"], rows, values)


def measures(
    contenders: dict[str, Contender], busy: BusyProcess
) -> dict[str, Callable[[], float]]:
    """Return what measures each contender idle and busy."""
    found = {}
    for name, contender in contenders.items():
        found[f"{name}, idle"] = contender.trainee.step
        found[f"{name}, busy"] = busy.beside(contender.trainee.step)
    return found


def row(name: str, batch: int, samples: Samples, memory: float, sizes: Sizes) -> list[str]:
    """Return the speeds of a contender, as multiples of the undivided batch, and its memory."""
    cells = [str(batch), name]
    voxels = batch * sizes.side**3
    for state in STATES:
        whole = f"{WHOLE}, {state}"
        base = whole if whole in samples.values else f"{DEFAULT}, {state}"
        rate = voxels / samples.spread(f"{name}, {state}").median / 1e6
        cells += [f"{rate:.3f}", samples.ratio(base, f"{name}, {state}").shown()]
    slowdown = samples.ratio(f"{name}, busy", f"{name}, idle").shown()
    return [*cells, slowdown, f"{memory:.0f}"]
