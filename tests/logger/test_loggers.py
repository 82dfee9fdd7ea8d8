"""metrics.csv byte for byte; the console without a terminal; W&B offline and dead; TensorBoard."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from wandb.proto import wandb_internal_pb2

from tests.conftest import ROOT, vae3d
from vae3d.logger.console import ConsoleLogger
from vae3d.logger.csv import CsvLogger


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
    assert "step 1/3 loss 0.5 2.00 Mvoxel/s" in text
    assert "step 3/3" in text
    assert "step 3 val: psnr 30" in text
    assert "\x1b" not in text


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
    """The names that a .wandb file logs: protobuf messages in a LevelDB log of 32 KiB blocks."""
    data, keys, message = record.read_bytes(), set(), b""
    place = len(":W&B") + 3
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        message += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several parts
            parsed = wandb_internal_pb2.Record.FromString(message)
            keys |= {item.key or "/".join(item.nested_key) for item in parsed.history.item}
            message = b""
    return keys


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
