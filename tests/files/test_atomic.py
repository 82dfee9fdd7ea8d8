"""Files and folders appear whole or not at all."""

import hashlib
import json
import math
from pathlib import Path

import pytest

from vae3d.files import atomic as files
from vae3d.files.atomic import (
    atomic_folder,
    atomic_write,
    file_digest,
    sweep,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.nii.gz"
    with atomic_write(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.name.startswith(".tmp-")
        assert temporary.name.endswith("-a.nii.gz"), "writers choose the format by the suffixes"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.nii.gz"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is flushed before the rename, and the folder that holds its name after it."""
    seen: list[tuple[str, bool]] = []

    def fsync(descriptor: int) -> None:
        flushed = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((flushed.name.split("-")[-1], (tmp_path / "a").exists()))

    monkeypatch.setattr(files.os, "fsync", fsync)
    with atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert seen == [("a", False), (tmp_path.name.split("-")[-1], True)]
    (tmp_path / "a").unlink()
    seen.clear()
    with atomic_folder(tmp_path / "a") as folder:
        (folder / "one").write_text("x")
        (folder / "two").write_text("x")
    assert sorted(seen[:2]) == [("one", False), ("two", False)]
    assert seen[2:] == [("a", False), (tmp_path.name.split("-")[-1], True)]


def test_a_folder_replaces_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "folder"
    for text in ("old", "new"):
        with atomic_folder(path) as temporary:
            (temporary / text).write_text(text)
    assert names(path) == ["new"]
    assert names(path.parent) == ["folder"]

    def fail() -> None:
        with atomic_folder(path) as temporary:
            (temporary / "half").write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names(path) == ["new"]
    assert names(path.parent) == ["folder"]


def test_a_folder_takes_the_place_of_a_link_and_not_of_what_it_leads_to(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    path = tmp_path / "folder"
    path.symlink_to(elsewhere)
    with atomic_folder(path) as temporary:
        (temporary / "new").write_text("new")
    assert not path.is_symlink()
    assert names(path) == ["new"]
    assert names(elsewhere) == ["mine"]


def test_what_an_interruption_left_is_swept(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    assert sweep(folder) == []
    for name in (".tmp-1-abababab-half", ".old-1-abababab-there", "there"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x").write_text(name)
    (folder / ".tmp-1-cdcdcdcd-file.txt").write_text("half")
    (folder / ".hidden").write_text("mine")
    (folder / "mine.tmp-").write_text("mine")
    # Its replacement was interrupted: it is renamed back, whatever dashes its name has.
    (folder / ".old-1-abababab-case-3-b").mkdir()
    (folder / ".old-1-abababab-case-3-b" / "x").write_text("back")
    # A link is removed, its target is not.
    (folder / ".tmp-1-efefefef-link").symlink_to(folder / "there")
    swept = [
        ".old-1-abababab-there",
        ".tmp-1-abababab-half",
        ".tmp-1-cdcdcdcd-file.txt",
        ".tmp-1-efefefef-link",
    ]
    assert sorted(sweep(folder)) == swept
    assert names(folder) == [".hidden", "case-3-b", "mine.tmp-", "there"]
    assert (folder / "there" / "x").read_text() == "there"
    assert (folder / "case-3-b" / "x").read_text() == "back"
    assert sweep(folder) == []


def test_text_and_json(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "äöü\n")
    assert (tmp_path / "a.txt").read_bytes() == "äöü\n".encode()
    write_json(tmp_path / "a.json", {"b": [1, None], "a": 0.5})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 0.5, "b": [1, None]}
    assert (tmp_path / "a.json").read_text().endswith("}\n")
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text())["a"] == 0.5


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**20 + 1, 3 * 2**20])
def test_the_digest_is_of_every_byte(tmp_path: Path, length: int) -> None:
    contents = bytes(range(251)) * (length // 251 + 1)
    (tmp_path / "a").write_bytes(contents[:length])
    assert file_digest(tmp_path / "a") == hashlib.sha256(contents[:length]).hexdigest()
