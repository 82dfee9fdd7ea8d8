"""What may change when a run resumes, and which process may write to a folder."""

import contextlib
import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.command_server import COMMANDS
from tests.conftest import ROOT, vae3d
from tests.faults.forked import (
    at_step,
    completed,
    digest,
    ended,
    log_of,
    signalled,
    started,
    toy,
)
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.errors import CheckpointError, DataError, LockedError, RunError, UserError, VolumeError


def test_a_second_run_in_one_folder_is_refused_immediately(tmp_path: Path) -> None:
    config = toy(tmp_path)
    first = started(config, at_step(3, lambda trainer: time.sleep(60)))
    while not (config.folder / "metrics.csv").exists():
        time.sleep(0.01)
    begun = time.monotonic()
    assert ended(started(config)) == LockedError.exit_code
    assert time.monotonic() - begun < 20, "the first one takes a minute"
    assert f"another process writes here (process {first} since " in log_of(config).read_text()
    os.kill(first, signal.SIGKILL)
    ended(first)
    completed(config)


@pytest.mark.parametrize("kept", ["summary.json", "status.json"])
def test_a_run_whose_checkpoints_are_gone_keeps_its_weights(tmp_path: Path, kept: str) -> None:
    config = toy(tmp_path)
    run = train(config)
    shutil.rmtree(run / "checkpoints")
    (run / ({"summary.json", "status.json"} - {kept}).pop()).unlink()
    before = {path: path.read_bytes() for path in (run / "weights").rglob("*.safetensors")}
    with pytest.raises(CheckpointError, match=r"checkpoints are gone, the last one was of step"):
        train(config)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("place", ["file", "below_file", "proc"])
def test_a_folder_that_cannot_be_written_is_refused_first(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    runs = {"file": tmp_path, "below_file": tmp_path / "file", "proc": Path("/proc/nowhere")}
    name = "file" if place == "file" else "run"
    typed = ("data=ct", "data.root=nowhere", f"runs_dir={runs[place]}", f"name={name}")
    done = vae3d("train", *typed, cwd=tmp_path)
    assert done.returncode == 2
    assert "is no folder" in done.stderr or "cannot be written" in done.stderr
    assert "data.root" not in done.stderr, "before the data are looked at"


def test_what_was_refused_leaves_nothing(tmp_path: Path) -> None:
    config = toy(tmp_path)
    config.data = SyntheticConfig(shape=(8, 8, 8), count=1, val_fraction=0.9, test_fraction=0)
    config.model.in_channels = 2
    with pytest.raises(UserError):
        train(config)
    assert not config.folder.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lr": 1e-4}, "trainer.lr: 0.002 -> 0.0001"),
        ({"optimizer": "sgd"}, "trainer.optimizer: adamw -> sgd"),
        ({"ema_decay": 0.5}, "trainer.ema_decay: 0.9 -> 0.5"),
        ({"clip_norm": 9.0}, "trainer.clip_norm: 1.0 -> 9.0"),
    ],
    ids=str,
)
def test_what_alters_a_run_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    completed(toy(tmp_path, steps=6))
    with pytest.raises(RunError, match=said):
        train(toy(tmp_path, steps=9, **changes))


def test_a_learning_rate_is_taken_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    completed(toy(tmp_path, steps=6))
    train(toy(tmp_path, steps=9, lr=1e-4, allow_change=["lr"]))
    assert "changed for the coming steps: trainer.lr: 0.002 -> 0.0001" in capsys.readouterr().err
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        rates = [float(row["lr"]) for row in csv.DictReader(file) if row["split"] == "train"]
    assert max(rates[6:]) <= 1e-4 < min(rates[1:3])
    # By now it is a setting of the run itself: nothing has to be allowed.
    train(toy(tmp_path, steps=12, lr=1e-4))


def test_what_does_not_alter_it_is_taken(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    expected = completed(toy(tmp_path / "whole", steps=9))
    config = toy(tmp_path, steps=9)
    assert ended(started(config, at_step(4, signalled(signal.SIGTERM)))) == 75
    config.trainer.log_every = 3
    config.trainer.checkpoint_every = 2
    config.data = SyntheticConfig(shape=(16, 16, 16), count=6, workers=1)
    completed(config)
    weights = "weights/latest/model.safetensors"
    assert (config.folder / weights).read_bytes() == (expected / weights).read_bytes()


def test_other_cases_are_refused(tmp_path: Path) -> None:
    completed(toy(tmp_path, steps=6))
    config = toy(tmp_path, steps=9)

    def setup() -> None:
        shapes = LoadedCases.shapes
        LoadedCases.fingerprint = lambda self, indices: str(  # type: ignore[method-assign]
            [*shapes(self, indices), "another"]
        )

    assert ended(started(config, setup)) == 4
    assert "its training cases were others" in log_of(config).read_text()


def unreadable(cases: set[str], from_step: int = 0) -> Any:
    """A setup in which some cases can no longer be read."""

    def setup() -> None:
        get = LoadedCases.__getitem__
        survey = LoadedCases.survey

        def surveyed(self: LoadedCases, *arguments: Any) -> Any:
            found = survey(self, *arguments)
            if arguments[0] == "val":
                LoadedCases.__getitem__ = patched  # type: ignore[method-assign]
            return found

        def patched(self: LoadedCases, index: int) -> Any:
            if self.case_id(index) in cases:
                raise VolumeError(f"{self.case_id(index)}.nii", "is truncated")
            return get(self, index)

        LoadedCases.survey = surveyed  # type: ignore[method-assign]

    return setup


@pytest.mark.parametrize("workers", [0, 2])
def test_a_scan_that_cannot_be_read_is_replaced_by_others(tmp_path: Path, workers: int) -> None:
    digests = set()
    for number, name in enumerate(("once", "broken")):
        (tmp_path / name).mkdir()
        config = toy(tmp_path / name, steps=12)
        config.data = SyntheticConfig(
            shape=(16, 16, 16), count=6, workers=workers, on_error="skip", max_skipped=0.5
        )
        names = trained_on(config)
        assert ended(started(config, unreadable({names[-1]}))) == 0, log_of(config).read_text()
        said = log_of(config).read_text()
        assert said.count(f"Skipping {names[-1]}, which can no longer be read") == 1
        assert (config.folder / "skipped.csv").read_text() == f"{names[-1]},is truncated\n"
        digests.add(digest(config.folder))
        assert number < 2
    assert len(digests) == 1, "the replacement is the same every time"


def trained_on(config: Any) -> list[str]:
    """The cases a config trains on, from a run of two steps."""
    short = toy(Path(config.runs_dir), steps=2)
    short.name = "short"
    short.data = config.data
    completed(short)
    rows = (short.folder / "cases.csv").read_text().splitlines()[1:]
    return [row.split(",")[0] for row in rows if row.split(",")[1] == "train"]


def test_too_many_of_them_are_an_error(tmp_path: Path) -> None:
    config = toy(tmp_path, steps=12)
    config.data = SyntheticConfig(shape=(16, 16, 16), count=6, on_error="skip")
    names = trained_on(config)
    assert ended(started(config, unreadable({*names[-2:]}))) == DataError.exit_code
    assert "more than data.max_skipped=0.01 allows" in log_of(config).read_text()
    assert ended(started(config, unreadable({*names}))) == DataError.exit_code
    config.data.on_error = "fail"
    config.name = "strict"
    assert ended(started(config, unreadable({names[0]}))) == DataError.exit_code
    assert f"{names[0]}.nii: is truncated" in log_of(config).read_text()


def test_patience_ends_a_training(tmp_path: Path) -> None:
    config = toy(tmp_path, lr=1e-12, val_every=2, patience=2)
    completed(config)
    status = json.loads((config.folder / "status.json").read_text())
    assert status["state"] == "finished"
    assert status["step"] < 30
    assert "2 validations without a better score" in status["reason"]
    completed(config)
    assert "larger trainer.patience" in log_of(config).read_text()


def test_the_best_few_are_kept(tmp_path: Path) -> None:
    config = toy(tmp_path, keep_best=3, val_every=2, checkpoint_every=30, lr=1e-2)
    folder = completed(config)
    checkpoints = CheckpointFolder(folder / "checkpoints")
    rows = [row.split(",") for row in (folder / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("psnr")
    scores = {int(row[0]): float(row[column]) for row in rows[1:] if row[2] == "val"}
    ranked = sorted(scores, key=lambda step: -scores[step])
    best = checkpoints.newest().state["train"]["best"]  # type: ignore[union-attr]
    assert [step for _, step in best] == ranked[:3]
    assert (folder / "checkpoints/best").read_text() == f"step_{ranked[0]:08d}"


@pytest.mark.parametrize("moment", ["middle", "end"])
def test_a_wandb_service_that_dies_stops_nothing(tmp_path: Path, moment: str) -> None:
    settings = [
        "trainer.steps=100", "trainer.log_every=1", "trainer.val_every=100", "model=tiny",
        "data.shape=[16,16,16]", "data.count=6", "patching.size=[8]", "trainer.precision=fp32",
        "evaluation.media=[]", "logger=wandb",
    ]  # fmt: skip
    names = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    command = COMMANDS.start(["train", *settings], tmp_path, {**os.environ, **names})
    metrics, reached = tmp_path / "runs/vae3d/metrics.csv", 20 if moment == "middle" else 80
    while not metrics.exists() or len(metrics.read_text().splitlines()) < reached:
        assert command.runs()
        time.sleep(0.01)
    (service,) = children(command.pid, "wandb-core")
    os.kill(service, signal.SIGKILL)
    done = command.completed(timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("wandb: stopped logging") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert metrics.read_text().splitlines()[-1].startswith("100,")


def children(parent: int, name: str) -> list[int]:
    """The processes of this name that a process started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
            if fields["Name"] == name and int(fields["PPid"]) == parent:
                found.append(int(status.parent.name))
    return found
