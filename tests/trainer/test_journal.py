"""`Journal`: the files in which a run reports its progress."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.conftest import tiny_trainer
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.run_cases import RunCase, RunCases
from vae3d.errors import DataError, Interrupted, ResourceError
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.trainer import journal as module
from vae3d.trainer.journal import Journal
from vae3d.trainer.state import TrainState


def journal_of(path: Path, rank: int = 0, **changes: Any) -> Journal:
    folder = RunFolder(path)
    checkpoints = CheckpointFolder(folder.checkpoints)
    return Journal(folder, checkpoints, tiny_trainer(**changes), Distributed(rank, 2))


def status_after(journal: Journal, error: BaseException | None) -> dict[str, Any]:
    trainer: Any = SimpleNamespace(state=TrainState(step=10), total_steps=10)
    status = journal.folder.status

    def train() -> None:
        with journal.watching(trainer):
            assert json.loads(status.read_text())["state"] == "running"
            if error:
                raise error

    if error:
        kind = ResourceError if isinstance(error, torch.OutOfMemoryError) else type(error)
        with pytest.raises(kind):
            train()
    else:
        train()
    found: dict[str, Any] = json.loads(status.read_text())
    return found


@pytest.mark.parametrize(
    ("error", "state", "reason", "code"),
    [
        (None, "finished", "is finished at step 10", 0),
        (Interrupted("SIGTERM", "stopped"), "interrupted", "stopped", 143),
        (DataError("no scan"), "failed", "no scan", DataError.exit_code),
        (ValueError("odd"), "failed", "odd", 1),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt", 1),
        (torch.OutOfMemoryError("all gone"), "failed", "lower trainer.batch_size", 5),
    ],
    ids=repr,
)
def test_the_status_is_true_whatever_ends_a_training(
    tmp_path: Path, error: BaseException | None, state: str, reason: str, code: int
) -> None:
    found = status_after(journal_of(tmp_path), error)
    assert (found["state"], found["step"], found["of"]) == (state, 10, 10)
    assert reason in found["reason"]
    expected = ResourceError.exit_code if isinstance(error, torch.OutOfMemoryError) else code
    if isinstance(error, Interrupted):
        expected = error.exit_code
    assert found["exit_code"] == expected
    assert found["last_checkpoint"] is None


def test_only_the_main_rank_writes_what_all_know(tmp_path: Path) -> None:
    other = journal_of(tmp_path, rank=1)
    other.status("running", 1, 2, None, None)
    other.summary(TrainState(), 1)
    other.cases([RunCase("a", "train")], 1)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("best_by", "score", "expected"),
    [("psnr", 31.5, 31.5), ("psnr", -2.0, -2.0), ("mae", -0.25, 0.25)],
)  # fmt: skip
def test_a_summary_tells_the_best(
    tmp_path: Path, best_by: str, score: float, expected: float
) -> None:
    journal = journal_of(tmp_path, best_by=best_by)
    journal.summary(TrainState(step=10, best=[(score, 6), (score - 1, 4)]), 123)
    found = json.loads(journal.folder.summary.read_text())
    assert found == {
        "steps": 10, "best_step": 6, "best_by": best_by, "best_score": expected, "parameters": 123,
    }  # fmt: skip
    journal.summary(TrainState(step=10), 123)
    found = json.loads(journal.folder.summary.read_text())
    assert (found["best_step"], found["best_score"]) == (0, None)


def test_why_it_ended_and_how_to_go_on(tmp_path: Path) -> None:
    state = TrainState(step=6, stale=3)
    early = journal_of(tmp_path).ending(state, 10)
    assert early.endswith("finished at step 6: 3 validations without a better score; extend it "
                          "with a larger trainer.patience")  # fmt: skip
    assert journal_of(tmp_path).ending(state, 6).endswith("a larger trainer.steps")
    assert journal_of(tmp_path, epochs=2).ending(state, 6).endswith("a larger trainer.epochs")


def test_cases_are_listed_unless_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journal_of(tmp_path)
    monkeypatch.setattr(module, "MAX_LISTED", 2)
    journal.cases([RunCase("a", "train"), RunCase("b", "train"), RunCase("c", "val")], 3)
    assert not journal.folder.cases.exists()
    cases = [RunCase('a,"b', "train", "1f", "2e"), RunCase("c", "val", stamp="3d")]
    journal.cases(cases, 2)
    head = "case_id,split,voxels,geometry,stamp\n"
    assert journal.folder.cases.read_text() == f'{head}"a,""b",train,1f,2e,\nc,val,,,3d\n'
    assert RunCases.read(journal.folder.cases).cases == cases


def test_a_case_that_cannot_be_read_is_listed_once(tmp_path: Path) -> None:
    journal = journal_of(tmp_path)
    for case_id, reason in (("a", "is gone"), ("b", "is, too"), ("a", "is gone")):
        journal.unread(case_id, reason)
    assert journal.folder.skipped.read_text() == 'a,is gone\nb,"is, too"\n'
    # A kill in the middle of a line: it is dropped, and reported again.
    journal.folder.skipped.write_text('a,is gone\nb,"i')
    journal.unread("b", "is, too")
    assert journal.folder.skipped.read_text() == 'a,is gone\nb,"is, too"\n'
