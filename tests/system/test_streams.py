"""A stream that outlives its reader passes errors over, and remembers the first."""

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from vae3d.system import streams
from vae3d.system.streams import LastingFile, LastingText, lost_streams


@pytest.fixture(autouse=True)
def _nothing_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_lost", {})


def test_what_cannot_be_written_is_forgotten_and_the_reason_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(streams, "NAMES", {full.fileno(): "log"})
        file = LastingFile(full.fileno())
        assert file.write(b"text") == 4
        assert lost_streams()["log"].strerror == "No space left on device"
        assert os.fstat(full.fileno()).st_rdev == Path("/dev/full").stat().st_rdev, (
            "it is tried again"
        )


def test_a_closed_pipe_becomes_the_null_device() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    LastingFile(writer).write(b"text")
    assert os.fstat(writer).st_rdev == Path(os.devnull).stat().st_rdev
    os.close(writer)


def test_a_pipe_without_room_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    text = os.urandom(1 << 18)
    parts = []

    def read() -> None:
        time.sleep(0.05)
        while part := os.read(reader, 1 << 16):
            parts.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    LastingFile(writer).write(text)
    os.close(writer)
    thread.join()
    os.close(reader)
    assert b"".join(parts) == text


def test_text_of_someone_elses_stream_is_lost_without_an_error() -> None:
    with open("/dev/full", "w", encoding="ascii") as full:  # noqa: PTH123 - a device
        text = LastingText(full)
        assert text.write("a" * 10) == 10
        text.flush()
        assert text.encoding == "ascii"
        with pytest.raises(UnicodeEncodeError):
            text.write("\xe9")
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
    LastingText(full).write("closed")


def test_streams_of_someone_else_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    own = sys.stderr
    streams.keep_streams()
    assert (sys.stderr is own) == (own is not sys.__stderr__)
