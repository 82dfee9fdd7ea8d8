"""The search for scans in a place that is too large: it says where it is, and ends."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.test_search import scan
from vae3d.errors import DataError
from vae3d.lists import walk as walk_module
from vae3d.lists.search import search


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Folders without a scan around one with two."""
    for number in range(12):
        place = tmp_path / "home" / f"d{number:02d}"
        place.mkdir(parents=True)
        (place / "notes.txt").touch()
    scan(tmp_path / "home/d05/a.nii")
    scan(tmp_path / "home/d05/b.nii")
    return tmp_path / "home"


@pytest.mark.parametrize("limit", ["MAX_FOLDERS", "MAX_FILES"])
@pytest.mark.parametrize("key", ["data.root", "input"])
def test_a_search_in_the_wrong_place_ends_and_names_the_setting(
    large: Path, limit: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, limit, 3)
    with pytest.raises(
        DataError, match=f"{key}: .* is too large to search: .* narrower {key}"
    ) as e:
        search(str(large), 3, key)
    assert ("data.list=" in str(e.value)) == (key == "data.root")


def test_scans_between_many_folders_are_found(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, "MAX_FOLDERS", 13)
    monkeypatch.setattr(walk_module, "MAX_FILES", 12)
    assert [entry.case_id for entry in search(str(large), 3)] == ["d05/a", "d05/b"]


def test_a_long_search_says_where_it_is(
    large: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seconds: Iterator[int] = itertools.count(step=3)
    monkeypatch.setattr(walk_module.time, "monotonic", lambda: float(next(seconds)))
    with caplog.at_level(logging.INFO):
        search(str(large), 3)
    lines = [line for line in caplog.messages if "searching" in line]
    assert 1 < len(lines) < 12
    assert lines[-1].startswith(f"data.root: searching {large}: ")
    assert "folders, 2 scans so far" in lines[-1]
