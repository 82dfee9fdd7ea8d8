"""The list of runs is read from their files, whatever else is there."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, vae3d
from vae3d.errors import RunError
from vae3d.files.lock import locked
from vae3d.runtime.run_list import RunRecord, cells, find_runs, in_order, no_run, size_text

CONFIG = """name: a
data:
  kind: ct
  list: null
  root: 'it''s
    far away'
trainer:
  steps: 20
  best_by: {best_by}
"""
METRICS = "step,split,psnr,mae\n5,train,,\n10,val,30.5,9\n20,val,29.0,7\n30,val,nan,\n"


def write_run(folder: Path, state: str | None = "finished", best_by: str = "psnr") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG.format(best_by=best_by))
    (folder / "metrics.csv").write_text(METRICS)
    if state:
        status = {"state": state, "step": 20, "of": 40}
        (folder / "status.json").write_text(json.dumps(status))
    if state == "finished":
        (folder / "summary.json").write_text(json.dumps({"best_score": 31.25}))
    return folder


def only(folder: Path) -> RunRecord:
    (run,) = find_runs(folder)
    return run


def test_a_finished_run(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    run = only(tmp_path)
    assert (run.name, run.state, run.step, run.steps) == ("a", "finished", 20, 40)
    assert (run.best_by, run.best_score, run.data) == ("psnr", 31.25, "ct it's far away")
    assert run.bytes == sum(file.stat().st_size for file in folder.iterdir())
    # The folder of the run itself may be named.
    assert only(folder) == run


def test_runs_that_are_not_finished_have_the_best_score_so_far(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "interrupted")
    write_run(tmp_path / "b", "failed", best_by="mae")
    write_run(tmp_path / "c", None)
    assert [(run.state, run.best_score) for run in find_runs(tmp_path)] == [
        ("interrupted", 30.5),
        ("failed", 7.0),
        ("unknown", 30.5),
    ]


def test_a_run_whose_process_is_gone_was_killed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", "running")
    assert only(tmp_path).state == "killed"
    (folder / ".lock").touch()
    assert only(tmp_path).state == "killed"
    look = (
        "import sys; from pathlib import Path; from vae3d.runtime.run_list import find_runs;"
        "print(find_runs(Path(sys.argv[1]))[0].state)"
    )
    with locked(folder / ".lock"):
        command = [sys.executable, "-c", look, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "running\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_no_run_is_said_to_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder = write_run(tmp_path / "a", "running")
    (folder / ".lock").touch()

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuse)
    run = only(tmp_path)
    assert run.state == "unknown (no locks here)"
    assert cells(run)[1] == run.state
    assert run.changed, "its last sign of life lets a person judge"


def test_a_lock_that_may_not_be_read_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path / "a", "running")
    (folder / ".lock").touch()

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("vae3d.files.lock.open_regular", refuse)
    assert only(tmp_path).state == "unknown (no locks here)"


def test_sweeps_are_listed_and_foreign_folders_are_not(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/lr=1")
    write_run(tmp_path / "sweep/lr=2")
    write_run(tmp_path / ".hidden/x")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/config.yaml").write_text("data: 1")
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [run.name for run in find_runs(tmp_path)] == ["sweep/lr=1", "sweep/lr=2"]


@pytest.mark.parametrize("name", ["config.yaml", "status.json", "summary.json", "metrics.csv"])
@pytest.mark.parametrize("damage", ["empty", "bytes", "list", "huge", "folder", "pipe"])
def test_damaged_files_are_survived(tmp_path: Path, name: str, damage: str) -> None:
    state = "interrupted" if name == "metrics.csv" else "finished"
    file = write_run(tmp_path / "a", state) / name
    file.unlink(missing_ok=True)
    write_run(tmp_path / "b")
    if damage == "folder":
        file.mkdir()
    elif damage == "pipe":
        os.mkfifo(file)
    else:
        content = {"empty": b"", "bytes": b"\xff\0" * 99, "list": b"[1]", "huge": b"1" * 2**21}
        file.write_bytes(content[damage])
    damaged, whole = find_runs(tmp_path)
    assert whole.best_score == 31.25
    assert damaged.state == ("damaged" if name in ("config.yaml", "status.json") else state)
    best = {"config.yaml": None, "status.json": 30.5, "summary.json": 30.5, "metrics.csv": None}
    assert damaged.best_score == best[name]


def test_orders(tmp_path: Path) -> None:
    for number, name in enumerate(("b", "a", "c")):
        folder = write_run(tmp_path / name)
        (folder / "summary.json").write_text(
            json.dumps({"best_score": [30.0, None, 31.0][number]})
        )
        (folder / "large").write_bytes(bytes(1000 * number))
        for path in (*folder.iterdir(), folder):
            os.utime(path, (number, number))
    runs = find_runs(tmp_path)

    def names(sort: str) -> str:
        return "".join(run.name for run in in_order(runs, sort))

    assert [names(sort) for sort in ("name", "date", "size", "score")] == [
        *("abc", "cab", "cab", "cba"),
    ]


def test_sizes_in_words() -> None:
    assert [size_text(n) for n in (0, 1023, 1536, 5 * 2**20, 3 * 2**31)] == [
        *("0 B", "1023 B", "1.5 KiB", "5 MiB", "6.0 GiB"),
    ]


def test_the_runs_that_exist_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/ct64")
    write_run(tmp_path / "runs/sweep/lr=1")
    for wrong, expected in (
        ("runs/ct46", "did you mean runs/ct64? runs here: runs/ct64, runs/sweep/lr=1"),
        ("ct64", "did you mean runs/ct64?"),
        ("runs", "; runs here: runs/ct64"),
        ("elsewhere/x", "vae3d runs FOLDER lists"),
    ):
        assert expected in str(no_run(Path(wrong))), wrong
    assert isinstance(no_run(Path("x")), RunError)


def test_the_command(tmp_path: Path) -> None:
    write_run(tmp_path / "runs/\x1b[2Jx")
    done = vae3d("runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 run in runs" in done.stdout
    assert "psnr 31.25" in done.stdout
    assert "\x1b" not in done.stdout
    # Nothing but JSON is on stdout.
    done = vae3d("runs", "runs", "json=true", cwd=tmp_path)
    assert json.loads(done.stdout)[0]["best_score"] == 31.25
    refused = vae3d("runs", "nowhere", cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no such folder: nowhere" in refused.stderr


def test_the_list_needs_no_torch(tmp_path: Path) -> None:
    done = vae3d("runs", str(tmp_path), cwd=tmp_path, fresh=True, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "vae3d" in imported
    assert "torch" not in imported
