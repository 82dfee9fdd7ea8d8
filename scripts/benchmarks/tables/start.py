"""CPU seconds until a command answers, as ratios to `import torch`.

Each round runs `python -c "import torch"` and every command once, each in a folder of its own.
Values are user and system seconds together. The ratio of a training to its first step is to
`import torch` plus one AdamW step of the same network.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.processes import environment
from benchmarks.result import Block
from benchmarks.timing import alternate

TITLE = "Cold starts"
PEERS = ()

TINY = ("model=tiny", "data.count=4", "data.shape=[32,32,32]")
PYTHON = (sys.executable, "-c")
STEP = (
    "import torch; from vae3d.cli.compose import composed; "
    "from vae3d.autoencoder.vae import CustomVAE;"
    "m = CustomVAE(composed('train', 'model=tiny').model);"
    "o = torch.optim.AdamW(m.parameters(), fused=True);"
    "x = torch.zeros(4, 1, 32, 32, 32);"
    "m(x, torch.Generator()).reconstruction.mean().backward(); o.step()"
)


@dataclass(frozen=True)
class Sizes:
    """How often, and whether commands that open a run take part."""

    rounds: int = 5
    seconds: float = 600.0
    runs: bool = True


SIZES = {
    "full": Sizes(),
    "quick": Sizes(rounds=1),
    "miniature": Sizes(rounds=1, runs=False),
}


@dataclass(frozen=True)
class Command:
    """A command, its exit code, and the largest ratio to another row that it may have."""

    words: tuple[str, ...]
    goal: float | None = None
    code: int = 0
    against: str = "import torch"


def vae3d(*words: str) -> tuple[str, ...]:
    """Return the command line of a command."""
    return (sys.executable, "-m", "vae3d", *words)


WITHOUT_RUN = {
    "train --help": Command(vae3d("train", "--help"), 0.25),
    "train data=ct --help": Command(vae3d("train", "data=ct", "--help"), 0.25),
    "train trainer.lrr=1": Command(vae3d("train", "trainer.lrr=1"), 0.25, code=2),
    "train trainer.lr=-1": Command(vae3d("train", "trainer.lr=-1"), 0.25, code=2),
    "train --cfg job": Command(vae3d("train", "--cfg", "job"), 0.5),
}


def with_torch(run: Path) -> dict[str, Command]:
    """Return the commands that import torch, some of which open a run."""
    first_step = ("trainer.steps=1", "trainer.log_every=1", "evaluation.media=[]")
    step = vae3d("train", *TINY, *first_step)
    return {
        "import torch": Command((*PYTHON, "import torch")),
        "import torch + a step": Command((*PYTHON, STEP)),
        "info measure=false": Command(vae3d("info", "model=tiny", "measure=false"), 1.6),
        "eval split=all": Command(vae3d("eval", f"run={run}", "split=all", "output=e"), 1.6),
        "encode": Command(vae3d("encode", f"run={run}", "output=l"), 1.6),
        "train, one step": Command(step, 1.3, against="import torch + a step"),
    }


def measure(sizes: Sizes) -> list[Block]:
    """Train a run to evaluate, and time everything."""
    with tempfile.TemporaryDirectory() as folder:
        commands = WITHOUT_RUN
        if sizes.runs:
            cpu_seconds(
                Command(
                    vae3d("train", *TINY, "trainer=debug", "patching.size=[16]", "runs_dir=r")
                ),
                folder,
            )
            commands = with_torch(Path(folder, "r", "vae3d")) | commands
        calls: dict[str, Callable[[], float]] = {
            name: partial(cpu_seconds, command) for name, command in commands.items()
        }
        samples = alternate(calls, sizes.rounds, sizes.seconds, warm_up=False)
    rows = []
    for name, command in commands.items():
        ratio = goal = ""
        if command.goal is not None and command.against in commands:
            ratio, goal = samples.ratio(name, command.against).shown(), f"{command.goal}"
        rows.append([name, f"{samples.spread(name).median:.2f}", ratio, goal])
    caption = "CPU seconds, and their ratio to `import torch` (of a training, to a step as well)"
    return [Block.of(caption, ["", "seconds", "ratio", "goal"], rows, samples, "CPU s")]


def cpu_seconds(command: Command, folder: str | None = None) -> float:
    """Return user and system seconds of a command and all that it starts, in an empty folder.

    Raises:
        RuntimeError: the command did not end as it should.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            command.words,
            cwd=folder or empty,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != command.code:
        raise RuntimeError(f"{' '.join(command.words)}: {done.returncode}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
