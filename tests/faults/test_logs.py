"""A command does not die of its log: the reader goes away, its disk is full, it was closed."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command_server import COMMANDS
from tests.conftest import ROOT
from tests.faults.forked import at_step, completed, digest, ended, log_of, started, toy
from vae3d.system.streams import keep_streams
from vae3d.trainer.trainer import Trainer


def to_full_disk(_: Trainer) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    os.dup2(full, 2)


def to_closed_pipe(_: Trainer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    os.dup2(writer, 2)
    os.close(writer)


def to_lost_terminal(_: Trainer) -> None:
    # Without a terminal of its own the process gets no SIGHUP, as under nohup.
    terminal, end = pty.openpty()
    os.dup2(end, 1)
    os.dup2(end, 2)
    os.close(end)
    os.close(terminal)


SHORT = {"steps": 6, "val_every": 6}
WAYS: dict[str, tuple[Callable[[Trainer], None], str]] = {
    "closed pipe": (to_closed_pipe, "Broken pipe"),
    "full disk": (to_full_disk, "No space left on device"),
    "lost terminal": (to_lost_terminal, "Input/output error"),
}


def kept(setup: Callable[[], None]) -> Callable[[], None]:
    """A setup whose process prints as the command line does."""

    def inner() -> None:
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
        keep_streams()
        setup()

    return inner


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    return digest(completed(toy(tmp_path_factory.mktemp("whole"), **SHORT)))


@pytest.mark.parametrize("way", WAYS)
def test_a_training_ends_as_if_its_log_was_read(way: str, expected: str, tmp_path: Path) -> None:
    change, reason = WAYS[way]
    config = toy(tmp_path, **SHORT)
    config.data.workers = 1 if way == "closed pipe" else 0
    assert ended(started(config, kept(at_step(2, change)))) == 0, log_of(config).read_text()
    assert digest(config.folder) == expected
    status = json.loads((config.folder / "status.json").read_text())
    assert f"its log was cut off (stderr: {reason})" in status["reason"]


def test_a_training_called_from_python_outlives_its_log(expected: str, tmp_path: Path) -> None:
    config = toy(tmp_path, **SHORT)
    assert ended(started(config, at_step(2, to_full_disk))) == 0
    assert digest(config.folder) == expected


def test_nothing_is_printed_into_a_file_that_has_the_number_of_stderr(
    expected: str, tmp_path: Path
) -> None:
    def close_all() -> None:
        for number in (0, 1, 2):
            os.close(number)
        sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = None  # type: ignore[misc,assignment]
        keep_streams()
        null = Path(os.devnull).stat().st_rdev
        assert [os.fstat(number).st_rdev for number in (0, 1, 2)] == [null] * 3

    config = toy(tmp_path, **SHORT)
    assert ended(started(config, close_all)) == 0
    assert digest(config.folder) == expected


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_closes_stops_a_training_unless_it_runs_under_nohup(
    ignored: bool, expected: str, tmp_path: Path
) -> None:
    def hang_up(trainer: Trainer) -> None:
        to_lost_terminal(trainer)
        os.kill(os.getpid(), signal.SIGHUP)

    def setup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        kept(at_step(4, hang_up))()

    config = toy(tmp_path, **SHORT)
    assert ended(started(config, setup)) == (0 if ignored else 75)
    status = json.loads((config.folder / "status.json").read_text())
    assert status["step"] == (6 if ignored else 4)
    completed(config)
    assert digest(config.folder) == expected


@pytest.mark.parametrize("words", [["--help"], ["runs", "."], ["train", "--cfg", "job"]])
def test_results_that_cannot_be_printed_are_an_error(words: list[str], tmp_path: Path) -> None:
    command = COMMANDS.start(words, tmp_path, {**os.environ}, stdout=Path("/dev/full"))
    done = command.completed(60)
    message = "vae3d: stdout: what was printed is incomplete (No space left on device)\n"
    assert (done.returncode, done.stderr) == (6, message)


@pytest.mark.parametrize("words", [["--help"], ["info", "measure=false", "model=tiny", "size=16"]])
def test_a_reader_that_has_read_enough_ends_a_command_quietly(
    words: list[str], tmp_path: Path
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    closed = Path(f"/proc/{os.getpid()}/fd/{writer}")
    done = COMMANDS.start(words, tmp_path, {**os.environ}, stdout=closed).completed(60)
    os.close(writer)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "stdout" not in done.stderr


ENDS = ["2>&1 | head -1", "2>&-", ">&-", "> /dev/full", "2> /dev/full", "> /dev/full 2> /dev/full"]
TINY = "model=tiny trainer.steps=2 trainer.batch_size=2 patching.size=16 patching.per_volume=2"
LINES = {
    "train": f"train name=NAME {TINY} data.count=4 data.shape=[16,16,16]",
    "eval": "eval run=runs/base split=all output=NAME",
    "reconstruct": "reconstruct run=runs/base input=scans output=NAME",
    "encode": "encode run=runs/base output=NAME",
    "decode": "decode run=runs/base input=latents output=NAME",
    "prepare": "prepare data=ct data.root=scans data.store=NAME",
    "inspect": "inspect data=ct data.root=scans output=NAME",
    "info": "info run=runs/base size=16",
    "runs": "runs",
}


@pytest.mark.faults
def test_every_command_outlives_its_log(tmp_path: Path) -> None:
    vae3d = f"{sys.executable} -m vae3d"

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line], cwd=tmp_path, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
        )  # fmt: skip

    (tmp_path / "scans").mkdir()
    for number in range(8):
        voxels = np.random.default_rng(number).integers(-1000, 1000, (16, 16, 16))
        np.save(tmp_path / f"scans/{number}.npy", voxels.astype(np.int16))
    for line in (
        f"{vae3d} train name=base {TINY} data=ct data.root=scans",
        f"{vae3d} encode run=runs/base output=latents",
    ):
        assert shell(line).returncode == 0, shell(line).stderr
    for name, words in LINES.items():
        for number, end in enumerate(ENDS):
            done = shell(f"{vae3d} {words.replace('NAME', f'{name}{number}')} {end}")
            lost = name in ("info", "runs") and "> /dev/full" in end and not end.startswith("2>")
            assert done.returncode == (6 if lost else 0), (words, end, done)
            assert "Traceback" not in done.stdout + done.stderr, (words, end, done)
