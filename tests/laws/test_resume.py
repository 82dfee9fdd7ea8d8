"""Law 6: a run that was killed and continued is the uninterrupted one, bit for bit."""

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.command_server import COMMANDS, Command
from tests.conftest import ROOT, tiny_model, tiny_trainer, tiny_training
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import train
from vae3d.errors import RunError
from vae3d.model.config import LevelSpec
from vae3d.run.saved import load_config

SETTINGS = (
    "trainer=debug",
    "trainer.steps=30",
    "trainer.log_every=1",
    "trainer.val_every=10",
    "trainer.checkpoint_every=4",
    "trainer.keep_checkpoints=2",
    "trainer.ema_decay=0.9",
    "trainer.accumulation=2",
    "trainer.precision=fp32",
    "model=tiny",
    "model.dropout=0.1",
    "data.shape=[16,16,16]",
    "data.count=7",
    "data.cache_gib=0",
    "patching.size=[8]",
    "evaluation.media=[]",
)


def assert_equal_states(first: Any, second: Any) -> None:
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal_states(first[key], second[key])
    elif isinstance(first, list):
        for one, other in zip(first, second, strict=True):
            assert_equal_states(one, other)
    else:
        assert first == second


def final_state(folder: Path) -> dict[str, Any]:
    checkpoints = CheckpointFolder(folder / "checkpoints")
    return checkpoints.load(checkpoints.steps()[-1]).state


def start(folder: Path) -> Command:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return COMMANDS.start(["train", *SETTINGS], folder, environment)


def test_killed_and_continued_equals_uninterrupted(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    done = start(whole).completed(timeout=300)
    assert done.returncode == 0, done.stderr
    checkpoints = CheckpointFolder(broken / "runs/vae3d/checkpoints")
    for steps in (4, 15):
        command = start(broken)
        while not any(step >= steps for step in checkpoints.steps()):
            assert command.runs()
            time.sleep(0.002)
        command.kill()
        assert command.completed(timeout=10).returncode == -signal.SIGKILL
        assert checkpoints.steps()[-1] < 30
    done = start(broken).completed(timeout=300)
    assert done.returncode == 0, done.stderr
    assert "resumes at step" in done.stderr

    first, second = whole / "runs/vae3d", broken / "runs/vae3d"
    assert_equal_states(final_state(first), final_state(second))
    weights = (f"weights/latest/{name}" for name in ("model.safetensors", "config.json"))
    for name in ("metrics.csv", "summary.json", *weights):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_resume_from_every_checkpoint(tmp_path: Path) -> None:
    folder = train(tiny_training(tmp_path))
    metrics, state = (folder / "metrics.csv").read_bytes(), final_state(folder)
    for step in (8, 4, 2):
        for later in CheckpointFolder(folder / "checkpoints").steps():
            if later > step:
                shutil.rmtree(folder / f"checkpoints/step_{later:08d}")
        train(tiny_training(tmp_path))
        assert (folder / "metrics.csv").read_bytes() == metrics
        assert_equal_states(final_state(folder), state)


def test_finished_run_says_so_and_is_extended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_training(tmp_path))
    capsys.readouterr()
    train(tiny_training(tmp_path))
    assert "finished at step 10; extend it with a larger trainer.steps" in capsys.readouterr().err
    folder = train(tiny_training(tmp_path, trainer=tiny_trainer(steps=12)))
    assert final_state(folder)["train"]["step"] == 12


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    train(tiny_training(tmp_path))
    levels = [LevelSpec(4), LevelSpec(16, stride=(2,))]
    with pytest.raises(RunError, match=r"model\.levels\.1\.channels: 8 -> 16"):
        train(tiny_training(tmp_path, model=tiny_model(levels=levels)))
    with pytest.raises(RunError, match="seed: 0 -> 1"):
        train(tiny_training(tmp_path, seed=1))
    with pytest.raises(RunError, match="patches_per_step=2, now it is 4"):
        train(tiny_training(tmp_path, trainer=tiny_trainer(steps=12, batch_size=4)))


def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(tiny_training(tmp_path))
    metrics = (folder / "metrics.csv").read_bytes()
    (folder / "checkpoints/step_00000010/state.pt").write_bytes(b"no checkpoint")
    train(tiny_training(tmp_path))
    said = capsys.readouterr().err
    assert "step_00000010/state.pt: damaged" in said
    assert "resumes at step 8" in said
    assert (folder / "metrics.csv").read_bytes() == metrics


def test_a_run_resumes_in_any_number_of_lanes(tmp_path: Path) -> None:
    """And a run keeps its portions, also if nothing is typed of them."""

    def in_lanes(lanes: int, portions: int | None) -> Path:
        trainer = tiny_trainer(batch_size=4, portions=portions, lanes=lanes)
        return train(tiny_training(tmp_path, trainer=trainer, model=tiny_model(dropout=0.1)))

    folder = in_lanes(1, None)
    assert load_config(folder / "config.yaml").trainer.portions == 2
    metrics, state = (folder / "metrics.csv").read_bytes(), final_state(folder)
    for step, lanes, portions in ((8, 2, None), (4, 4, 2)):
        for later in range(step + 2, 12, 2):
            shutil.rmtree(folder / f"checkpoints/step_{later:08d}")
        in_lanes(lanes, portions)
        assert (folder / "metrics.csv").read_bytes() == metrics
        assert_equal_states(final_state(folder), state)
    with pytest.raises(RunError, match=r"trainer\.portions: 2 -> 4.*allow_change=\[portions"):
        in_lanes(1, 4)


def test_a_run_of_an_earlier_version_keeps_whole_batches(tmp_path: Path) -> None:
    folder = train(tiny_training(tmp_path, trainer=tiny_trainer(portions=1)))
    state = final_state(folder)
    for later in (6, 8, 10):
        shutil.rmtree(folder / f"checkpoints/step_{later:08d}")
    config = folder / "config.yaml"
    lines = config.read_text().splitlines()
    config.write_text("\n".join(line for line in lines if "portion" not in line))
    train(tiny_training(tmp_path))
    assert load_config(config).trainer.portions == 1
    assert_equal_states(final_state(folder), state)
