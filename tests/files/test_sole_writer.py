"""An output has one writer, whose lock and whose empty folders do not outlive it."""

from pathlib import Path

import pytest

from vae3d.errors import DataError, LockedError
from vae3d.files import sole_writer as module
from vae3d.files.sole_writer import lock_of, sole_writer, sole_writer_of_file


def test_a_folder_is_swept_while_it_is_locked(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    for place in (folder, folder / "cases", folder / "other"):
        place.mkdir(parents=True)
        (place / ".tmp-1-0123abcd-x").write_text("")
    with sole_writer(folder, ["cases"]):
        assert {path.name for path in folder.iterdir()} == {".lock", "cases", "other"}
        assert not [*(folder / "cases").iterdir()]
    assert {path.name for path in folder.iterdir()} == {"cases", "other"}
    assert [*(folder / "other").iterdir()], "is not written, and not swept"


def test_what_stays_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no"), sole_writer(tmp_path / "a/b/c"):
        raise DataError("no")
    assert not [*tmp_path.iterdir()]
    with sole_writer(tmp_path / "a/b"):
        (tmp_path / "a/b/x").write_text("")
    assert (tmp_path / "a/b/x").exists()
    with sole_writer(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_dir()


def test_only_what_was_left_of_a_file_is_swept(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        (tmp_path / f".tmp-1-0123abcd-{name}").write_text("")
    with sole_writer_of_file(tmp_path / "x", also=["z"]):
        assert lock_of(tmp_path / "x").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".tmp-1-0123abcd-y"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in ("file", "file/folder"):
        with (
            pytest.raises(DataError, match=r"cannot be written .*; choose another output="),
            sole_writer(tmp_path / place),
        ):
            pass
    with (
        pytest.raises(DataError, match="cannot be written"),
        sole_writer_of_file(tmp_path / "file/x"),
    ):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_that_was_removed_in_between_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = module.locked

    def late(path: Path) -> object:
        context = locked(path)
        monkeypatch.setattr(Path, "exists", lambda self: self.name != ".lock")
        return context

    monkeypatch.setattr(module, "locked", late)
    with pytest.raises(LockedError, match="try again"), sole_writer(tmp_path):
        pass
