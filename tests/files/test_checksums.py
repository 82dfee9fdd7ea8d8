"""`checksums.json` notices files that were changed after a command finished their folder."""

import json
import logging
from pathlib import Path

import pytest

from vae3d.errors import DataError
from vae3d.files.checksums import (
    CHECKSUMS,
    changed,
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
    assert not changed(folder)
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
    assert changed(folder) == {
        "a.csv": "was changed after vae3d wrote it",
        "cases/c.png": "is missing",
    }


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
    assert not changed(tmp_path)


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
        changed(folder)
