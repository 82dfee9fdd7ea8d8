"""A training that is killed at any moment ends as the undisturbed one, bit for bit."""

import builtins
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_server import COMMANDS
from tests.conftest import ROOT, tiny_model
from tests.faults.forked import (
    at_step,
    completed,
    digest,
    ended,
    killed_after,
    log_of,
    signalled,
    started,
    toy,
)
from vae3d.adversary.config import AdversarySpec
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.config import SyntheticConfig
from vae3d.files.atomic import sweep
from vae3d.loss.config import LossConfig
from vae3d.run.config import TrainConfig
from vae3d.trainer.trainer import Trainer

TOLERATED = (0, -signal.SIGKILL)
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"precision": "bf16", "steps": 9},
    "no_average": {"ema_decay": None, "accumulation": 1},
    "best_kept": {"keep_best": 3, "val_every": 2},
    "adversary": {"val_every": 3},
}
ADVERSARY = AdversarySpec(
    weight=0.5, adaptive=True, start_step=4, ramp_steps=4, stop_step=12, levels=1, channels=4,
    spectral_norm=True,
)  # fmt: skip


def kind(name: str, folder: Path, **changes: Any) -> TrainConfig:
    """One of the trainings that are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    if name != "workers":
        config = toy(folder, **{**changes, **KINDS[name]})
        if name == "adversary":
            config.loss = LossConfig(adversary=ADVERSARY)
        return config
    config = toy(folder)
    config.data = SyntheticConfig(shape=(16, 16, 16), count=6, workers=2)
    return config


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (25, {"steps": 15, "val_every": 5}),
        pytest.param(250, {}, marks=pytest.mark.faults),
    ],
    ids=["fast", "nightly"],
)
@pytest.mark.parametrize("name", KINDS)
def test_kills_at_random_moments(
    tmp_path: Path, name: str, count: int, changes: dict[str, int]
) -> None:
    start = time.monotonic()
    expected = digest(completed(kind(name, tmp_path / "whole", **changes)))
    duration = time.monotonic() - start
    draw = random.Random(name)
    kills = chains = 0
    while kills < count:
        chains += 1
        config = kind(name, tmp_path / f"chain{chains}", **changes)
        patience = duration
        while killed_after(started(config), draw.uniform(0.05, 0.8) * patience):
            kills += 1
            # A machine that became slower would kill every start before its next checkpoint.
            patience *= 1.03
        assert digest(completed(config)) == expected
        assert "Traceback" not in log_of(config).read_text()
        assert not sweep(config.folder)
        shutil.rmtree(tmp_path / f"chain{chains}")


@pytest.mark.parametrize("count", [4, pytest.param(25, marks=pytest.mark.faults)])
def test_kills_with_loader_workers(tmp_path: Path, count: int) -> None:
    expected = digest(completed(kind("plain", tmp_path / "whole")))
    config = kind("workers", tmp_path / "broken")
    draw = random.Random(0)
    for _ in range(count):
        # Only the main process: its workers have to notice by themselves.
        pid = started(config)
        time.sleep(draw.uniform(0.3, 1.2))
        os.kill(pid, signal.SIGKILL)
        assert ended(pid) in TOLERATED
    assert digest(completed(config)) == expected, "workers change nothing"


class CrashPoint:
    """Ends the process before the `at`-th operation on the file system inside a run folder."""

    def __init__(self, at: int, root: Path, step: int) -> None:
        self.at = at
        self.step = step
        self.root = str(root)
        self.count = 0
        self.armed = False

    def install(self) -> None:
        """In a process that will train: armed while the checkpoint of `step` is saved."""
        for name in ("replace", "rename", "unlink", "mkdir", "rmdir", "fsync"):
            setattr(os, name, self._wrapped(getattr(os, name), name == "fsync"))
        builtins.open = self._wrapped(builtins.open, False)  # type: ignore[assignment]
        import io

        io.open = builtins.open  # what pathlib calls
        save = Trainer._save

        def armed(trainer: Trainer, best: bool) -> None:
            self.armed = trainer.state.step == self.step
            save(trainer, best)
            if self.armed:
                os._exit(3)

        Trainer._save = armed  # type: ignore[method-assign]

    def _wrapped(self, function: Callable[..., Any], always: bool) -> Callable[..., Any]:
        def hit(*arguments: Any, **named: Any) -> Any:
            place = str(arguments[0]) if arguments else ""
            if self.armed and (always or place.startswith(self.root)):
                self.count += 1
                if self.count == self.at:
                    os._exit(137)
            return function(*arguments, **named)

        return hit


@pytest.mark.parametrize("step", [6, *(pytest.param(s, marks=pytest.mark.faults) for s in (3, 9))])
@pytest.mark.parametrize("point", [1, 2], ids=["odd", "even"])
def test_a_crash_at_any_point_of_a_save(tmp_path: Path, step: int, point: int) -> None:
    changes: dict[str, Any] = {"steps": 9, "val_every": 3}
    for name in ("whole", "before"):
        (tmp_path / name).mkdir()
    expected = digest(completed(toy(tmp_path / "whole", **changes)))
    # Each crash begins with the run that was stopped one step before.
    before = toy(tmp_path / "before", **changes)
    assert ended(started(before, at_step(step - 1, signalled(signal.SIGTERM)))) == 75
    while True:
        folder = tmp_path / f"point{point}"
        folder.mkdir()
        config = toy(folder, **changes)
        shutil.copytree(before.folder, config.folder)
        code = ended(started(config, CrashPoint(point, folder, step).install))
        assert code in (137, 3), log_of(config).read_text()
        assert digest(completed(config)) == expected, f"crash point {point}"
        shutil.rmtree(folder)
        if code == 3:
            break
        point += 2  # the others are those of the other test
    assert point > 40, "a save has that many"


def until_killed(
    arguments: list[str], cwd: Path, fresh: bool, seconds: float
) -> "subprocess.CompletedProcess[str]":
    """Runs a command and kills it after so long; `fresh` as for `tests.conftest.vae3d`."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if not fresh:
        command = COMMANDS.start(arguments, cwd, environment)
        try:
            return command.completed(seconds)
        except subprocess.TimeoutExpired:
            command.kill()
            return command.completed(10)
    process = subprocess.Popen(
        [sys.executable, "-m", "vae3d", *arguments], cwd=cwd, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    process.kill()
    texts = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, *texts)


@pytest.mark.parametrize(
    ("fresh", "count"),
    [(False, 9), (True, 3), pytest.param(True, 100, marks=pytest.mark.faults)],
    ids=["forked", "new", "nightly"],
)
def test_kills_of_the_real_command(tmp_path: Path, fresh: bool, count: int) -> None:
    settings = [
        "trainer=debug", "trainer.steps=40", "trainer.checkpoint_every=3", "trainer.log_every=1",
        "trainer.val_every=9", "trainer.ema_decay=0.9", "trainer.precision=fp32", "model=tiny",
        "data.shape=[16,16,16]", "data.count=7", "patching.size=[8]", "evaluation.media=[]",
    ]  # fmt: skip

    def launched(runs: Path, seconds: float) -> tuple[int, float]:
        start, arguments = time.monotonic(), ["train", *settings, f"runs_dir={runs}"]
        done = until_killed(arguments, tmp_path, fresh, seconds)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in TOLERATED, done.stderr
        return done.returncode, time.monotonic() - start

    code, duration = launched(tmp_path / "whole", 120)
    assert code == 0
    # A new process imports for most of its time, where nothing is there to break.
    first = 0.6 if fresh else 0.1
    draw, kills, chains = random.Random(1), 0, 0
    while kills < count:
        chains += 1
        runs = tmp_path / f"chain{chains}"
        killed = 0
        while True:
            code, seconds = launched(runs, draw.uniform(first, 1.0) * duration)
            if code == 0:
                break
            killed += 1
        if not killed:
            # The machine has become faster than it was.
            duration = seconds
        kills += killed
        assert digest(runs / "vae3d") == digest(tmp_path / "whole/vae3d")


def test_whatever_a_kill_leaves_is_swept(tmp_path: Path) -> None:
    tmp_path.joinpath("run").mkdir()
    config = toy(tmp_path / "run", steps=6)
    folder = completed(config)
    checkpoints = folder / "checkpoints"
    (checkpoints / ".tmp-1-0123abcd-step_00000009").mkdir()
    (checkpoints / ".tmp-1-0123abcd-step_00000009" / "state.pt").write_bytes(b"")
    (checkpoints / "step_00000012").mkdir()
    (checkpoints / "step_00000015").write_text("a file")
    (folder / ".tmp-1-0123abcd-metrics.csv").write_text("")
    best = folder / "weights" / "best"
    best.rename(best.with_name(".old-1-0123abcd-best"))
    config.trainer.steps = 9
    completed(config)
    assert best.is_dir(), "interrupted while it was replaced, it has its old contents back"
    assert "step_00000012" in log_of(config).read_text(), "what is no checkpoint is named"
    assert CheckpointFolder(checkpoints).steps()[-1] == 9
    assert not [p.name for p in folder.rglob("*") if p.name.startswith((".tmp-", ".old-"))]


def test_a_model_of_other_channels_is_another_run(tmp_path: Path) -> None:
    config = toy(tmp_path, steps=6)
    completed(config)
    config.model = tiny_model(latent_channels=2)
    assert ended(started(config)) == 2
    assert "model.latent_channels: 4 -> 2" in log_of(config).read_text()
