"""A run that was copied to another place, or resumes with other threads, is the same run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import rounding, tiny_model, tiny_trainer, tiny_training
from tests.laws.test_resume import assert_equal_states, final_state
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.train_run import train
from vae3d.data.config import CaseData, CTConfig, RunData, StoreConfig
from vae3d.evaluation.config import EvaluationConfig

SPLITS: dict[str, Any] = {"val_fraction": 0.4, "test_fraction": 0.2, "split_rule": "count"}
WEIGHTS = "weights/latest/model.safetensors"


def data_at(place: Path, kind: str) -> CaseData:
    """The settings that name the data of a place."""
    if kind == "store":
        return StoreConfig(root=str(place / "store"), **SPLITS)
    return CTConfig(root=str(place / "scans"), store=str(place / "own"), **SPLITS)


def trained(place: Path, kind: str, steps: int) -> Path:
    """Train, or resume, the run of a place; its paths may be relative."""
    trainer = tiny_trainer(steps=steps, val_every=steps)
    return train(tiny_training(place, data=data_at(place, kind), trainer=trainer))


@pytest.mark.parametrize("kind", ["ct", "store"])
def test_a_copy_at_another_place_resumes_and_evaluates(
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here, there, third = Path("here"), tmp_path / "a copy/of it", tmp_path / "third"
    (here / "scans").mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(5):
        scan = draw.integers(-900, 900, (12, 12, 12)).astype(np.int16)
        np.save(here / f"scans/{number}.npy", scan)
    if kind == "store":
        prepare(PrepareConfig(data=CTConfig(root=str(here / "scans"), store=str(here / "store"))))
        shutil.rmtree(here / "scans")
    trained(here, kind, steps=4)
    shutil.copytree(here, there)
    # A store belongs to the scans at their place: those of another place get one of their own.
    shutil.rmtree(there / "own", ignore_errors=True)
    whole = tmp_path / "gone/run"
    trained(here, kind, steps=6)
    here.rename(whole.parent)

    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    capsys.readouterr()
    moved = trained(there, kind, steps=6)
    assert "resumes at step 4" in capsys.readouterr().err
    assert_equal_states(final_state(moved), final_state(whole))
    for name in ("metrics.csv", WEIGHTS):
        assert (moved / name).read_bytes() == (whole / name).read_bytes(), name

    shutil.move(there, third)
    data = RunData(root=str(third / ("store" if kind == "store" else "scans")))
    config = EvalConfig(
        run=str(third / "run"),
        data=data,
        device="cpu",
        output="report",
        evaluation=EvaluationConfig(media=[], report=False),
    )
    assert evaluate(config).cases
    assert Path("report/scores.csv").is_file()


@pytest.fixture
def threads() -> Iterator[None]:
    """Restores the threads and the cores of this process."""
    count = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    yield
    torch.set_num_threads(count)
    if cores:
        os.sched_setaffinity(0, cores)


def resumed(source: Path, place: Path) -> Path:
    """Resume a copy of a run from its checkpoint of step 4, and return its folder."""
    shutil.copytree(source, place / "run")
    for later in ("06", "08", "10"):
        shutil.rmtree(place / f"run/checkpoints/step_000000{later}")
    return train(tiny_training(place))


def test_other_cores_and_threads_resume(tmp_path: Path, threads: None) -> None:
    whole = train(tiny_training(tmp_path / "whole"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pinned = resumed(whole, tmp_path / "pinned")
    assert_equal_states(final_state(pinned), final_state(whole))
    assert (pinned / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()

    torch.set_num_threads(3)
    other = resumed(whole, tmp_path / "other")
    assert final_state(other)["train"]["step"] == 10
    # Sums of other threads are rounded otherwise, which six steps of Adam make larger.
    within = 1000 * rounding(CustomVAE(tiny_model()))
    first, second = (CustomVAE.from_pretrained(p / "weights/latest") for p in (other, whole))
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=within, atol=within)
