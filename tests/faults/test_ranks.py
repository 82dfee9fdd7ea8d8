"""Several ranks decide alike, and none waits for ever for one that died."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, tiny_model
from tests.faults.forked import (
    Setup,
    at_step,
    completed,
    digest,
    ended,
    log_of,
    ranks,
    signalled,
    started,
    toy,
    undisturbed,
)
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.config import SyntheticConfig
from vae3d.errors import DataError, NonFiniteError, RankError
from vae3d.loss.objective import LossTerms, Objective
from vae3d.run.config import TrainConfig
from vae3d.trainer.trainer import Trainer


def on_rank(rank: int, setup: Setup) -> Any:
    """The setups of all ranks, of which one meets a fault."""
    return lambda this: setup if this == rank else undisturbed(this)


def all_ended(pids: list[int], within: float) -> list[int]:
    """The exit codes of all, which must have come in time."""
    start = time.monotonic()
    codes = [ended(pid) for pid in pids]
    assert time.monotonic() - start < within
    return codes


def losses(config: TrainConfig) -> list[float]:
    with (config.folder / "metrics.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["split"] == "train"]


def test_a_killed_rank_ends_the_others(tmp_path: Path) -> None:
    config = toy(tmp_path)
    pids = ranks(config, on_rank(1, at_step(5, signalled(signal.SIGKILL))))
    assert all_ended(pids, 15) == [RankError.exit_code, -signal.SIGKILL]
    said = log_of(config).read_text()
    assert said.count("another rank has ended") == 1
    assert "step 5:" in said
    assert "Traceback" not in said
    assert json.loads((config.folder / "status.json").read_text())["state"] == "failed"
    assert all_ended(ranks(config, undisturbed), 60) == [0, 0]


def test_a_rank_that_fails_names_the_cause_once(tmp_path: Path) -> None:
    config = toy(tmp_path)

    def fail(trainer: Trainer) -> None:
        raise DataError("scan 7 is gone")

    codes = all_ended(ranks(config, on_rank(1, at_step(4, fail))), 15)
    assert codes == [RankError.exit_code, DataError.exit_code]
    said = log_of(config).read_text()
    assert said.count("scan 7 is gone") == 1
    assert "Traceback" not in said


def test_a_rank_that_hangs_ends_the_job_by_its_timeout(tmp_path: Path) -> None:
    config = toy(tmp_path, timeout=4.0)
    pids = ranks(config, on_rank(1, at_step(6, signalled(signal.SIGSTOP))))
    start = time.monotonic()
    assert ended(pids[0]) == RankError.exit_code
    assert 4 < time.monotonic() - start < 30
    os.kill(pids[1], signal.SIGKILL)
    ended(pids[1])
    said = log_of(config).read_text()
    assert "step 6: another rank did not answer in time (trainer.timeout)" in said
    assert "Traceback" not in said


def test_a_signal_to_one_rank_stops_all_at_one_step(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = toy(tmp_path / "whole")
    assert all_ended(ranks(whole, undisturbed), 60) == [0, 0]
    config = toy(tmp_path)
    pids = ranks(config, on_rank(1, at_step(7, signalled(signal.SIGTERM))))
    assert all_ended(pids, 15) == [75, 75]
    assert CheckpointFolder(config.folder / "checkpoints").steps()[-1] == 7
    assert all_ended(ranks(config, undisturbed), 60) == [0, 0]
    assert digest(config.folder) == digest(whole.folder)


def broken_loss(step: int, rounds: int = 1) -> Setup:
    """A loss that is no number in some steps."""

    def setup() -> None:
        original = Objective.__call__

        def patched(
            objective: Objective, output: Any, image: Any, inside: Any, now: int, seeds: Any
        ) -> Any:
            terms = original(objective, output, image, inside, now, seeds)
            if step <= now < step + rounds:
                return LossTerms(terms.total * float("nan"), terms.by_name)
            return terms

        Objective.__call__ = patched  # type: ignore[method-assign]

    return setup


def test_not_a_number_on_one_rank_stops_all_untouched(tmp_path: Path) -> None:
    config = toy(tmp_path, checkpoint_every=1, keep_checkpoints=9)
    codes = all_ended(ranks(config, on_rank(1, broken_loss(5))), 60)
    assert codes == [NonFiniteError.exit_code] * 2
    checkpoints = CheckpointFolder(config.folder / "checkpoints")
    assert checkpoints.steps()[-1] == 5, "the step itself is not saved"
    said = log_of(config).read_text()
    assert "step 5: loss, grad_norm stopped being finite" in said
    for rank in (0, 1):
        folder = config.folder / f"nonfinite/step_00000005_rank{rank}"
        about = json.loads((folder / "patches.json").read_text())
        assert about["not_finite"] == ["loss", "grad_norm"]
        assert len(about["patches"]) == 4
    assert all_ended(ranks(config, undisturbed), 60) == [0, 0], "the same command resumes"


def test_some_steps_in_a_row_may_be_skipped(tmp_path: Path) -> None:
    before: dict[str, Any] = {}
    config = toy(tmp_path, max_nonfinite=2, ema_decay=None, checkpoint_every=1, keep_checkpoints=9)
    codes = all_ended(ranks(config, on_rank(1, broken_loss(5, rounds=2))), 60)
    assert codes == [0, 0]
    folder = config.folder / "nonfinite"
    assert sorted(p.name for p in folder.iterdir())[::2] == [
        "step_00000005_rank0", "step_00000006_rank0",
    ]  # fmt: skip
    assert before == {}
    other = toy(tmp_path, max_nonfinite=2)
    other.name = "other"
    codes = all_ended(ranks(other, on_rank(1, broken_loss(5, rounds=3))), 60)
    assert codes == [NonFiniteError.exit_code] * 2
    assert "step 7: " in log_of(other).read_text().splitlines()[-1]


def test_a_skipped_step_changes_no_weight(tmp_path: Path) -> None:
    config = toy(tmp_path, max_nonfinite=1, checkpoint_every=1, keep_checkpoints=40)
    assert ended(started(config, broken_loss(5))) == 0
    checkpoints = CheckpointFolder(config.folder / "checkpoints")
    before, after = checkpoints.load(5).state, checkpoints.load(6).state
    assert all(torch.equal(v, after["model"][k]) for k, v in before["model"].items())
    moments = [state["state"] for state in (before["optimizer"], after["optimizer"])]
    for name, held in moments[0].items():
        assert all(torch.equal(held[k], moments[1][name][k]) for k in held)


def test_one_rank_then_two_then_one(tmp_path: Path) -> None:
    for name in ("whole", "changing"):
        (tmp_path / name).mkdir()

    def run(folder: Path, batch: int) -> TrainConfig:
        config = toy(folder, batch_size=batch, accumulation=1, steps=18)
        config.model = tiny_model()
        return config

    whole = run(tmp_path / "whole", 4)
    completed(whole)
    alone, shared = run(tmp_path / "changing", 4), run(tmp_path / "changing", 2)
    assert ended(started(alone, at_step(5, signalled(signal.SIGTERM)))) == 75
    stop = at_step(11, signalled(signal.SIGTERM))
    assert all_ended(ranks(shared, on_rank(0, stop)), 60) == [75, 75]
    completed(alone)
    # Two ranks add the same gradients in another order, and each step passes on what that changes,
    # some roundings of float32. A patch that is lost changes a loss by hundredths.
    for one, other in zip(losses(alone), losses(whole), strict=True):
        assert one == pytest.approx(other, rel=1e-6)


def test_fewer_cases_than_ranks(tmp_path: Path) -> None:
    config = toy(tmp_path, steps=6)
    config.data = SyntheticConfig(shape=(8, 8, 8), count=1, val_fraction=0, test_fraction=0)
    config.patching.per_volume = 1  # type: ignore[attr-defined]
    assert all_ended(ranks(config, undisturbed, world=3), 60) == [0, 0, 0]
    assert len(losses(config)) == 6


def test_torchrun_leaves_no_process_behind(tmp_path: Path) -> None:
    settings = [
        "trainer=debug", "trainer.steps=4000", "trainer.log_every=1", "model=tiny",
        "data.shape=[16,16,16]", "data.count=7", "patching.size=[8]", "evaluation.media=[]",
        f"runs_dir={tmp_path}",
    ]  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", "-m", "vae3d", "train", *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        metrics = tmp_path / "vae3d/metrics.csv"
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 5):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        start = time.monotonic()
        agent.terminate()
        agent.wait(timeout=30)
    assert time.monotonic() - start < 30
    status = json.loads((tmp_path / "vae3d/status.json").read_text())
    assert status["state"] == "interrupted", (tmp_path / "log").read_text()
    assert status["step"] == CheckpointFolder(tmp_path / "vae3d/checkpoints").steps()[-1]
    assert not [p for p in Path("/proc").iterdir() if p.name.isdigit() and runs_here(p, tmp_path)]


def runs_here(process: Path, folder: Path) -> bool:
    """Whether a process has this folder on its command line."""
    try:
        return str(folder).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False
