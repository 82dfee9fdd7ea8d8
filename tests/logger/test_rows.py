"""A training resumes from its whole checkpoint, whatever became of its metrics.csv."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from vae3d.logger.csv import CsvLogger
from vae3d.logger.rows import Written

COLUMNS = ["loss", "psnr"]
STEP = 4


def logged(path: Path, first: int, last: int, written: Written | None = None) -> CsvLogger:
    """Log the steps after `first`."""
    logger = CsvLogger(path, COLUMNS)
    logger.truncate_after(first, written)
    for step in range(first + 1, last + 1):
        logger.log(step, {"loss": 1 / step, "epoch": 0})
        logger.log(step, {"psnr": step / 3, "epoch": 0}, "val")
    return logger


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, Written]:
    """A file with the rows of six steps, and what the checkpoint of step 4 knows of it."""
    path = tmp_path / "metrics.csv"
    written = logged(path, 0, STEP).written
    logged(path, STEP, 6, written)
    return path, written


def test_a_checkpoint_knows_the_rows_up_to_its_step(run: tuple[Path, Written]) -> None:
    path, written = run
    assert Written.of(asdict(written)) == written
    assert written.rows == 8
    assert written.begins(path.read_bytes())
    assert not written.begins(path.read_bytes()[1:])
    assert [Written.of(v) for v in (None, 3, {}, {"rows": "x"}, [])] == [None] * 5


def test_what_follows_the_checkpoint_is_dropped_without_a_word(
    run: tuple[Path, Written], caplog: pytest.LogCaptureFixture
) -> None:
    path, written = run
    whole = path.read_bytes()
    for tail in (b"7,0,tr", b"\xff\xfe", bytes(4096), b"x8,0,train,1,\n"):
        path.write_bytes(whole + tail)
        assert logged(path, STEP, 6, written).written.rows == 12
        assert path.read_bytes() == whole
    assert not caplog.messages
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def line(data: bytes, number: int, new: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    return b"".join([*lines[: number - 1], new, *lines[number:]])


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str, int]] = {
    "no UTF-8": (lambda d: line(d, 3, b"1,0,val,\xff,1\n"), "1 of 8 rows is lost (line 3 ", 7),
    "step x8": (lambda d: line(d, 5, b"x8,0,val,,1.0\n"), "1 of 8 rows is lost (line 5 ", 7),
    "emptied": (lambda _: b"", "8 of 8 rows are lost", 0),
    "a zeroed page": (lambda d: d[:60] + bytes(80) + d[140:], "rows are lost (line", -1),
    "all zeros": (lambda d: bytes(len(d)), "8 of 8 rows are lost", 0),
    "lost rows": (lambda d: line(line(d, 2, b""), 2, b""), "2 of 8 rows are lost;", 6),
    "a row twice": (lambda d: line(d, 2, 2 * b"1,0,train,1.0,\n"), "1 row more than were", 9),
    "another value": (lambda d: line(d, 2, b"1,0,train,9.0,\n"), "was changed after", 8),
    "another step": (lambda d: line(d, 2, b"9,0,train,1.0,\n"), "1 of 8 rows is lost", 7),
    "another header": (lambda d: line(d, 1, b"step,split\n"), "8 of 8 rows are lost", 0),
    "cut": (lambda d: d[:50], "rows are lost", -1),
    "another file": (lambda _: b"PK\x03\x04" + bytes(range(256)), "8 of 8 rows are lost", 0),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_said_in_one_line_and_mended(
    run: tuple[Path, Written], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, written = run
    damage, said, rows = DAMAGES[name]
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    last = logged(path, STEP, 6, written).written
    (message,) = caplog.messages
    assert said in message
    assert message.startswith(f"{path}: ")
    assert "resumes from its whole checkpoint" in message
    assert "\n" not in message
    assert rows in (-1, last.rows - 4)
    aside = path.with_name("metrics.csv.damaged")
    assert aside.read_bytes() == damaged
    # What is mended is whole for the next start.
    caplog.clear()
    logged(path, 6, 7, last)
    assert not caplog.messages


def test_without_a_record_damaged_lines_are_named(
    run: tuple[Path, Written], caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = run
    whole = path.read_bytes()
    logged(path, STEP, 6)
    assert path.read_bytes() == whole
    assert not caplog.messages
    path.write_bytes(line(whole, 5, b"x8,0,val,,1.0\n"))
    logged(path, STEP, 6)
    assert "line 5 dropped as damaged" in caplog.messages[0]


@pytest.mark.parametrize("with_record", [True, False])
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "missing"])
def test_something_else_in_its_place_is_put_aside(
    run: tuple[Path, Written], kind: str, with_record: bool, caplog: pytest.LogCaptureFixture
) -> None:
    path, written = run
    path.unlink()
    if kind == "a folder":
        path.mkdir()
        (path / "kept").touch()
    elif kind == "a pipe":
        os.mkfifo(path)
    assert logged(path, STEP, 6, written if with_record else None).written.rows == 4
    if kind == "missing":
        assert [*caplog.messages] == [m for m in caplog.messages if "is missing" in m]
        assert len(caplog.messages) == with_record
        return
    (message,) = caplog.messages
    assert f"is {kind}, not a file" in message
    assert os.path.lexists(path.with_name("metrics.csv.damaged"))


def test_a_copy_is_kept_once(run: tuple[Path, Written]) -> None:
    path, written = run
    damaged = path.read_bytes()[:-30]
    for content in (damaged[:50], damaged[:50], damaged[:70]):
        path.write_bytes(content)
        logged(path, STEP, STEP, written)
    names = sorted(entry.name for entry in path.parent.iterdir())
    assert names == ["metrics.csv", "metrics.csv.damaged", "metrics.csv.damaged-2"]


def test_rows_follow_their_columns_when_other_scores_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    written = logged(path, 0, 1).written
    logger = CsvLogger(path, ["psnr", "ssim", "loss"])
    logger.truncate_after(1, written)
    assert path.read_text().splitlines()[1:] == ["1,0,train,,,1.0", f"1,0,val,{1 / 3},,"]
