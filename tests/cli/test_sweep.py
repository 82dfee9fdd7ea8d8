"""The table of a sweep, with four digits in the terminal, and the folders of its jobs."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vae3d.cli.job_folders import JobFolders, sweep_killed
from vae3d.cli.sweep import summarise


def test_printed_numbers_have_four_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, psnr in (("a=1", "30.123456789"), ("a=0.25", "31.987654321")):
        run = tmp_path / name
        run.mkdir()
        (run / "metrics.csv").write_text(f"step,epoch,split,psnr\n10,0,val,{psnr}\n")
        summary = {"steps": 10, "best_step": 10, "best_by": "psnr", "parameters": 174128}
        (run / "summary.json").write_text(json.dumps(summary))
    summarise([tmp_path / "a=1", tmp_path / "a=0.25"])
    printed = capsys.readouterr().out
    assert "30.12 " in printed
    assert "31.99 " in printed
    assert "174128" in printed
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert [row["psnr"] for row in csv.DictReader(file)] == ["31.987654321", "30.123456789"]


def left_by(folder: Path, pid: int, host: str | None = None) -> Path:
    """What a sweep of a process leaves, with the file of a job and one that is half-written."""
    place = folder / f".sweep-{host or socket.gethostname()}-{pid}-0123456789ab"
    place.mkdir()
    for name in ("0" * 32, f".{'1' * 32}"):
        (place / name).write_text(str(folder))
    return place


def test_what_a_killed_sweep_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = left_by(tmp_path, ended.pid)
    foreign = left_by(tmp_path, ended.pid, host="elsewhere")
    mine, own = tmp_path / ".sweep-notes", left_by(tmp_path, os.getpid())
    mine.mkdir()
    (tmp_path / f".sweep-{socket.gethostname()}-{ended.pid}-00000000000b").symlink_to(mine)
    sweep_killed(tmp_path)
    assert not gone.exists()
    assert foreign.exists()
    assert own.exists()
    assert mine.exists()
    assert len([*tmp_path.glob(".sweep-*")]) == 4
    # Something else in such a folder stays, and the folder with it.
    gone = left_by(tmp_path, ended.pid)
    (gone / "thesis.txt").touch()
    sweep_killed(tmp_path)
    assert [path.name for path in gone.iterdir()] == ["thesis.txt"]


def test_folders_of_jobs_are_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = JobFolders()
    folders.add(tmp_path / "here")
    folders.home = "elsewhere", 1
    folders.add(tmp_path / "there")
    sweep_killed(tmp_path)
    assert folders.collect() == [tmp_path / "here", tmp_path / "there"]
    assert not [*tmp_path.iterdir()]
