"""metrics.csv byte for byte; the console without a terminal; W&B offline and dead; TensorBoard."""

import html
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from tests.conftest import ROOT, vae3d
from vae3d.logger.base import LoggerGroup
from vae3d.logger.config import TensorboardConfig
from vae3d.logger.console import ConsoleLogger
from vae3d.logger.csv import CsvLogger
from vae3d.logger.tensorboard import TensorboardLogger, as_markdown
from vae3d.logger.wandb import WandbLogger


def test_csv_is_the_same_after_an_interruption(tmp_path: Path) -> None:
    def run(path: Path, first: int, last: int) -> None:
        logger = CsvLogger(path, ["loss", "psnr"])
        logger.truncate_after(first)
        for step in range(first + 1, last + 1):
            logger.log(step, {"loss": 1 / step, "epoch": 0, "unknown": 3.0})
            logger.log(step, {"psnr": step / 3, "epoch": 0}, "val")

    run(tmp_path / "whole.csv", 0, 9)
    run(tmp_path / "broken.csv", 0, 6)
    with (tmp_path / "broken.csv").open("a") as file:
        file.write("7,0,tr")
    run(tmp_path / "broken.csv", 4, 9)
    text = (tmp_path / "whole.csv").read_text()
    assert text == (tmp_path / "broken.csv").read_text()
    assert text.splitlines()[:2] == ["step,epoch,split,loss,psnr", "1,0,train,1.0,"]
    assert float(text.splitlines()[5].split(",")[3]) == 1 / 3


def test_console_speaks_plain_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = ConsoleLogger(3)
    for step in (1, 2, 3):
        logger.log(step, {"loss": 0.5, "epoch": 0, "voxels_per_second": 2e6})
    logger.log(3, {"psnr": 30.0}, "val")
    logger.close()
    text = capsys.readouterr().err
    assert "step 1/3 loss 0.5 2 Mvoxel/s" in text
    assert "step 3/3" in text
    assert " elapsed, 0:00:00 left" in text
    assert "step 3 val: psnr 30" in text
    assert "\x1b" not in text


def test_the_id_of_a_wandb_run_survives_a_kill(tmp_path: Path) -> None:
    logger = WandbLogger.__new__(WandbLogger)
    logger.folder = tmp_path
    (tmp_path / "wandb").mkdir()
    half, notes = (tmp_path / "wandb" / f".tmp-{name}" for name in ("1-0123abcd-run_id", "notes"))
    half.write_text("1f")
    notes.touch()
    known = logger._run_id()
    assert len(known) == 12
    # The next evaluation of the same run sweeps what was left, and keeps the id.
    half.write_text("1f")
    assert logger._run_id() == known
    assert {path.name for path in (tmp_path / "wandb").iterdir()} == {"run_id", notes.name}


def test_wandb_offline_run_holds_losses_and_media(tmp_path: Path) -> None:
    done = vae3d(
        "train", "trainer=debug", "model=tiny", "data.shape=[16,16,16]", "data.count=4",
        "logger=wandb", cwd=tmp_path, WANDB_MODE="offline", WANDB_API_KEY="",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "wandb sync" in done.stderr
    (record,) = tmp_path.glob("runs/vae3d/wandb/offline-run-*/*.wandb")
    keys = wandb_history_keys(record)
    assert {"train/loss", "train/lr", "train/voxels_per_second", "val/psnr"} <= keys
    media = {path.suffix for path in record.parent.glob("files/media/**/*") if path.is_file()}
    assert {".png", ".mp4"} <= media


def wandb_history_keys(record: Path) -> set[str]:
    """The names that a .wandb file logs."""
    items = [item for message in wandb_messages(record) for item in message.history.item]
    return {item.key or "/".join(item.nested_key) for item in items}


def wandb_messages(record: Path) -> Iterator[wandb_internal_pb2.Record]:
    """What a .wandb file holds: protobuf messages in a LevelDB log of 32 KiB blocks."""
    data, message = record.read_bytes(), b""
    place = len(":W&B") + 3
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several parts
            yield wandb_internal_pb2.Record.FromString(message)
            message = b""


def test_wandb_keeps_a_file_as_it_was_logged(tmp_path: Path) -> None:
    home, run = tmp_path / "home", tmp_path / "run"
    for folder in (home, run):
        folder.mkdir()
    script = """
import sys
from pathlib import Path
from vae3d.logger.wandb import WandbConfig, WandbLogger
logger = WandbLogger(WandbConfig(), Path(sys.argv[1]), "name", {})
for name in ("index.html", "scores.csv", "missing.csv"):
    path = Path(sys.argv[1]) / name
    if name != "missing.csv":
        path.write_text(f"of {name}")
    logger.log_file("my report/" + path.stem, path)
    path.unlink(missing_ok=True)
logger.log(1, {"psnr": 30.0}, "val")
assert not logger.silenced
logger.close()
"""
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": "", "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(run)],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no file at missing.csv, logging continues" in done.stderr
    (record,) = run.glob("wandb/offline-run-*/*.wandb")
    messages = [*wandb_messages(record)]
    artifacts = [m.artifact for m in messages if m.WhichOneof("record_type") == "artifact"]
    (run_id,) = {artifact.run_id for artifact in artifacts}
    assert [(artifact.type, artifact.name) for artifact in artifacts] == [
        ("report", f"my_report_index-{run_id}"),
        ("report", f"my_report_scores-{run_id}"),
    ]
    assert {"my report/index/sha256", "val/psnr"} <= wandb_history_keys(record)
    (page,) = record.parent.glob("files/media/html/**/*.html")
    assert page.read_text() == "of index.html"
    places = [entry.local_path for a in artifacts for entry in a.manifest.contents]
    assert [Path(place).read_text() for place in places] == ["of index.html", "of scores.csv"]
    assert not any(b"of index" in p.read_bytes() for p in home.rglob("*") if p.is_file())


def test_a_dead_wandb_server_stops_nothing(tmp_path: Path) -> None:
    done = vae3d(
        "train", "trainer=debug", "model=tiny", "data.shape=[16,16,16]", "data.count=4",
        "logger=wandb", "logger.wandb.init_timeout=4", cwd=tmp_path,
        WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY="a" * 40,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "logging offline" in done.stderr
    assert "trained 8 steps" in done.stderr
    assert "Traceback" not in done.stderr
    produced = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert b"a" * 40 not in produced, "the key must not be written anywhere"


def test_tensorboard_holds_scalars_and_pictures(tmp_path: Path) -> None:
    done = vae3d(
        "train", "trainer=debug", "model=tiny", "data.shape=[16,16,16]", "data.count=4",
        "logger=tensorboard", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    script = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
print(*events.Tags()["scalars"], *events.Tags()["images"])
"""
    read = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "runs/vae3d/tensorboard")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert "train/loss" in read.stdout
    assert "val/psnr" in read.stdout
    assert "planes/" in read.stdout


def test_tensorboard_holds_tables_and_the_place_of_files(tmp_path: Path) -> None:
    logger = LoggerGroup([TensorboardLogger(TensorboardConfig(), tmp_path, "run", {})])
    columns, rows = ["case", "psnr"], [["a|b", 30.123456789], ["<script>x</script>", None]]
    logger.log_table("cases", columns, rows)
    logger.log_file("report", Path("runs/x/report/full/index.html"))
    logger.close()
    script = """
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]); events.Reload()
for name in ("cases", "files/report"):
    (event,) = events.Tensors(f"{name}/text_summary")
    print(event.tensor_proto.string_val[0].decode())
"""
    read = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tensorboard")],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert read.stdout == as_markdown(columns, rows) + "\nruns/x/report/full/index.html\n"


def test_no_name_is_markup_in_a_table() -> None:
    marks = "|*_`[](){}#!<>&\\~\"'$"
    text = as_markdown(["case"], [[f"{mark}a{mark}\nb"] for mark in marks])
    assert len(text.splitlines()) == 2 + len(marks)
    for line, mark in zip(text.splitlines()[2:], marks, strict=True):
        cell = line.removeprefix("| ").removesuffix(" |")
        assert html.unescape(cell) == f"{mark}a{mark} b"
        assert not set(cell) & set("|*`[]<>\\~$")
