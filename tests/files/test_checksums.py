"""`checksums.json` notices files that were changed after a command finished their folder."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest

from vae3d.errors import DataError
from vae3d.files.checksums import (
    CHECKSUMS,
    accept,
    holds,
    is_changed,
    is_sealed,
    recorded,
    sealing,
    warn_if_changed,
)


def made(folder: Path) -> Path:
    (folder / "cases").mkdir()
    with sealing(folder, "a.csv", "b.json", "cases/*.png"):
        (folder / "a.csv").write_text("one\ntwo\n")
        (folder / "b.json").write_text("{}")
        (folder / "cases" / "c.png").write_bytes(b"picture")
    return folder


def test_what_is_written_counts_as_unchanged(tmp_path: Path) -> None:
    folder = made(tmp_path)
    assert is_sealed(folder, "a.csv", "b.json", "cases/c.png")
    assert not any(is_changed(folder / name, folder) for name in recorded(folder))
    assert all(holds(folder, name, sum_) for name, sum_ in recorded(folder).items())
    # Equal files have equal sums, on any day.
    before = (folder / CHECKSUMS).read_bytes()
    with sealing(folder, "b.json"):
        (folder / "b.json").write_text("{}")
    assert (folder / CHECKSUMS).read_bytes() == before
    assert "sha256" in json.loads(before)["files"]["a.csv"]


def test_a_changed_file_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = made(tmp_path)
    (folder / "a.csv").write_text("one\n")
    (folder / "cases" / "c.png").unlink()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            warn_if_changed(folder / "a.csv")
            warn_if_changed(folder / "b.json")
    (line,) = caplog.messages
    assert line.startswith(f"{folder / 'a.csv'}: was changed after")
    assert "vae3d verify" in line
    sums = recorded(folder)
    assert not holds(folder, "a.csv", sums["a.csv"])
    with pytest.raises(FileNotFoundError):
        holds(folder, "cases/c.png", sums["cases/c.png"])


def test_a_kill_while_files_are_written_leaves_them_unknown(tmp_path: Path) -> None:
    folder = made(tmp_path)

    def killed() -> None:
        with sealing(folder, "a.csv"):
            (folder / "a.csv").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    assert not is_sealed(folder, "a.csv")
    assert not is_changed(folder / "a.csv")
    assert is_sealed(folder, "b.json")


def test_a_folder_without_sums_is_not_in_doubt(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("one\n")
    assert not is_changed(tmp_path / "a.csv")
    assert not is_changed(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    "text", ["{", "[]", "\x00", '{"format": 1}', '{"format": 1, "files": {"a.csv": 3}}']
)
def test_damaged_sums_are_said_and_stop_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = made(tmp_path)
    (folder / CHECKSUMS).write_text(text)
    warn_if_changed(folder / "a.csv")
    assert [CHECKSUMS in line for line in caplog.messages] == [True]


def test_sums_name_nothing_outside_of_their_folder(tmp_path: Path) -> None:
    folder = made(tmp_path)
    values = json.loads((folder / CHECKSUMS).read_text())
    values["files"]["../secret"] = values["files"]["a.csv"]
    (folder / CHECKSUMS).write_text(json.dumps(values))
    with pytest.raises(DataError, match="is not inside"):
        holds(folder, "../secret", recorded(folder)["../secret"])
    with pytest.raises(DataError, match="is not inside"):
        accept(folder, "../secret")


def test_accepted_files_are_recorded_as_they_are_and_deleted_ones_no_more(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = recorded(folder)
    (folder / "a.csv").write_text("[one]*\n")
    (folder / "b.json").unlink()
    accept(folder, "a.csv", "b.json")
    assert {*recorded(folder)} == {"a.csv", "cases/c.png"}
    assert not is_changed(folder / "a.csv")
    assert recorded(folder)["cases/c.png"] == before["cases/c.png"]


def test_what_cannot_be_recorded_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path)

    def refuse(path: Path, value: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("vae3d.files.checksums.write_json", refuse)
    with pytest.raises(DataError, match=r"checksums.json: read-only file system; to accept"):
        accept(folder, "a.csv")
