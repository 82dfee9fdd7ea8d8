"""CPU seconds until a command answers, as ratios to `import torch`.

    python scripts/bench_start.py [--rounds 5]

Each round runs `python -c "import torch"` and every command once, each in a folder of its own. The
table has the medians of user and system time together, and their ratio to that of the import; that
of a training to its first step is to `import torch` plus one AdamW step of the same network.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

TINY = ["model=tiny", "data.count=4", "data.shape=[32,32,32]"]
IMPORT = [sys.executable, "-c", "import torch"]
STEP = [
    sys.executable,
    "-c",
    "import torch; from vae3d.cli.compose import composed; "
    "from vae3d.autoencoder.vae import CustomVAE;"
    "m = CustomVAE(composed('train', 'model=tiny').model);"
    "o = torch.optim.AdamW(m.parameters(), fused=True);"
    "x = torch.zeros(4, 1, 32, 32, 32);"
    "m(x, torch.Generator()).reconstruction.mean().backward(); o.step()",
]


def vae3d(*words: str) -> list[str]:
    """The command line of a command."""
    return [sys.executable, "-m", "vae3d", *words]


def commands(run: Path) -> dict[str, tuple[list[str], float, str]]:
    """What is timed, by name, with its goal as a ratio and what it stands against."""
    first_step = ["trainer.steps=1", "trainer.log_every=1", "evaluation.media=[]"]
    return {
        "train --help": (vae3d("train", "--help"), 0.25, "import torch"),
        "train data=ct --help": (vae3d("train", "data=ct", "--help"), 0.25, "import torch"),
        "train trainer.lrr=1": (vae3d("train", "trainer.lrr=1"), 0.25, "import torch"),
        "train trainer.lr=-1": (vae3d("train", "trainer.lr=-1"), 0.25, "import torch"),
        "train --cfg job": (vae3d("train", "--cfg", "job"), 0.5, "import torch"),
        "info measure=false": (vae3d("info", "model=tiny", "measure=false"), 1.6, "import torch"),
        "eval split=all": (
            vae3d("eval", f"run={run}", "split=all", "output=e"),
            1.6,
            "import torch",
        ),
        "encode": (vae3d("encode", f"run={run}", "output=l"), 1.6, "import torch"),
        "train, one step": (vae3d("train", *TINY, *first_step), 1.3, "import torch + a step"),
    }


def seconds(command: list[str]) -> float:
    """User and system seconds of a command and all that it starts, in an empty folder."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(rounds: int, run: Path, say: Callable[[str], object]) -> None:
    """Times everything and prints the medians."""
    timed = commands(run)
    lines = {"import torch": IMPORT, "import torch + a step": STEP} | {
        name: command for name, (command, _, _) in timed.items()
    }
    found: dict[str, list[float]] = {name: [] for name in lines}
    for _ in range(rounds):
        for name, command in lines.items():
            found[name].append(seconds(command))
    median = {name: statistics.median(values) for name, values in found.items()}
    for name, value in median.items():
        _, goal, against = timed.get(name, ([], 0.0, "import torch"))
        ratio = f"{value / median[against]:5.2f} (goal {goal})" if goal else ""
        say(f"{name:24s} {value:6.2f} s  {ratio}\n")


def main() -> None:
    """Trains a run to evaluate, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = [*TINY, "trainer=debug", "patching.size=[16]", f"runs_dir={folder}"]
        subprocess.run(vae3d("train", *settings), capture_output=True, check=True)
        table(arguments.rounds, Path(folder, "vae3d"), sys.stdout.write)


if __name__ == "__main__":
    main()
