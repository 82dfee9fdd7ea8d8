"""A signal ends a training at the next step, and nothing of it is lost."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.forked import completed, digest, ended, log_of, started, toy
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.evaluation.evaluator import Evaluator
from vae3d.run.config import TrainConfig
from vae3d.trainer.trainer import Trainer

CODES = {signal.SIGTERM: 75, signal.SIGUSR1: 75, signal.SIGINT: 130}


def wait_for_step(config: TrainConfig, step: int) -> None:
    """Wait until the metrics hold a step."""
    path = config.folder / "metrics.csv"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = path.read_text().splitlines()[1:] if path.exists() else []
        if rows and int(rows[-1].split(",")[0] or 0) >= step:
            return
        time.sleep(0.002)
    raise AssertionError(log_of(config).read_text())


@pytest.mark.parametrize("count", [6, pytest.param(100, marks=pytest.mark.faults)])
def test_signals_at_random_moments_lose_no_step(tmp_path: Path, count: int) -> None:
    (tmp_path / "whole").mkdir()
    expected = digest(completed(toy(tmp_path / "whole", val_every=4)))
    draw = random.Random(0)
    for number in range(count):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        config = toy(folder, val_every=4)
        pid = started(config)
        wait_for_step(config, draw.randrange(1, 27))
        time.sleep(draw.uniform(0, 0.01))
        chosen = draw.choice([*CODES])
        os.kill(pid, chosen)
        if draw.random() < 0.3 and chosen == signal.SIGTERM:
            os.kill(pid, chosen)
        begun = time.monotonic()
        code = ended(pid)
        assert time.monotonic() - begun < 10
        assert code in (CODES[chosen], 0), log_of(config).read_text()
        if code:
            status = json.loads((config.folder / "status.json").read_text())
            steps = CheckpointFolder(config.folder / "checkpoints").steps()
            last = (config.folder / "metrics.csv").read_text().splitlines()[-1].split(",")[0]
            assert status["state"] == "interrupted"
            assert status["exit_code"] == code
            assert status["step"] == steps[-1] == int(last), "no finished step is done again"
        assert digest(completed(config)) == expected
        assert "Traceback" not in log_of(config).read_text()


def test_a_signal_while_it_validates(tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    expected = digest(completed(toy(tmp_path / "whole", val_every=6, steps=12)))
    config = toy(tmp_path / "broken", val_every=6, steps=12)

    def setup() -> None:
        evaluate = Evaluator._reconstruct

        def signalled(*arguments: object) -> object:
            os.kill(os.getpid(), signal.SIGTERM)
            return evaluate(*arguments)  # type: ignore[arg-type]

        Evaluator._reconstruct = signalled  # type: ignore[assignment,method-assign]

    assert ended(started(config, setup)) == 75
    assert ",val," not in (config.folder / "metrics.csv").read_text()
    assert digest(completed(config)) == expected


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    config = toy(tmp_path, steps=9)

    def setup() -> None:
        step = Trainer.train_step

        def endless(trainer: Trainer, batches: object) -> object:
            result = step(trainer, batches)  # type: ignore[arg-type]
            if trainer.state.step == 5:
                time.sleep(60)
            return result

        Trainer.train_step = endless  # type: ignore[assignment,method-assign]

    pid = started(config, setup)
    wait_for_step(config, 4)
    time.sleep(0.3)
    begun = time.monotonic()
    os.kill(pid, signal.SIGINT)
    time.sleep(0.1)
    os.kill(pid, signal.SIGINT)
    ended(pid)
    assert time.monotonic() - begun < 10
    completed(config)


def test_a_signal_before_the_first_step(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vae3d", "train", "model=tiny", "data.count=9"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(1.5)
    for _ in range(30):
        # Again, as people do: libraries that are being imported may swallow the first one.
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
            break
    process.kill()
    _, errors = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)
    assert b"Traceback" not in errors or process.returncode == -signal.SIGINT
