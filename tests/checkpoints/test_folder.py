"""Checkpoints: which stay, which are read, and what damage looks like."""

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from vae3d.checkpoints import folder as module
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.checkpoints.state import missing_parts_as_errors, num_bytes
from vae3d.errors import CheckpointError, ResourceError
from vae3d.files.atomic import file_digest


def state_of(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((3,), float(step)), "list": [1, {"a": 0.5}]}


def saved(folder: CheckpointFolder, *steps: int, **options: Any) -> None:
    for step in steps:
        folder.save(step, state_of(step), {"who": "me"}, **options)


def damage(folder: CheckpointFolder, step: int) -> None:
    path = folder.path / f"step_{step:08d}" / "state.pt"
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    assert folder.steps() == []
    assert folder.newest() is None
    saved(folder, 7)
    found = folder.load(7)
    assert found.step == found.state["step"] == 7
    assert torch.equal(found.state["weights"], torch.full((3,), 7.0))
    assert found.state["list"] == [1, {"a": 0.5}]
    assert found.about == {"format_version": 1, "step": 7, "who": "me"}
    place = folder.path / "step_00000007"
    assert sorted(p.name for p in place.iterdir()) == ["about.json", "manifest.json", "state.pt"]
    sums = json.loads((place / "manifest.json").read_text())
    assert sums == {name: file_digest(place / name) for name in ("about.json", "state.pt")}
    assert (folder.path / "latest").read_text() == "step_00000007"
    assert not (folder.path / "best").exists()


@pytest.mark.parametrize(
    ("best", "keep", "expected"),
    [
        ([], 2, [8, 10]),
        ([], 3, [6, 8, 10]),
        ([4], 2, [4, 8, 10]),
        ([4, 2], 2, [2, 4, 8, 10]),
        ([10], 2, [8, 10]),
    ],
)
def test_the_newest_and_the_best_stay(
    tmp_path: Path, best: list[int], keep: int, expected: list[int]
) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2, 4, 6, 8, keep=9)
    saved(folder, 10, best=best, keep=keep)
    assert folder.steps() == expected
    assert (tmp_path / "latest").read_text() == "step_00000010"
    if best:
        assert (tmp_path / "best").read_text() == f"step_{best[0]:08d}"


def test_one_that_is_damaged_does_not_count_as_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2, 4, 6, keep=9)
    damage(folder, 6)
    saved(folder, 8, keep=2)
    assert folder.steps() == [4, 8]
    (message,) = caplog.messages
    assert message.startswith(f"removed: {tmp_path}/step_00000006/state.pt: damaged")


def test_the_newest_that_is_whole_is_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2, 4, 6, keep=9)
    damage(folder, 6)
    newest = folder.newest()
    assert newest is not None
    assert newest.step == 4
    (message,) = caplog.messages
    assert message.startswith("passed over: ")
    for step in (2, 4):
        damage(folder, step)
    with pytest.raises(CheckpointError, match="none of its 3 checkpoints is whole"):
        folder.newest()


def test_every_file_is_part_of_the_seal(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2)
    place, whole = tmp_path / "step_00000002", tmp_path / "whole"
    sums = json.loads((place / "manifest.json").read_text())
    shutil.copytree(place, whole)
    damages = {
        "state.pt": ("damaged, its end is missing", "is missing"),
        "about.json": ("damaged, its SHA-256 is", "is missing"),
        "manifest.json": ("cannot be read", "is missing"),
    }
    for name, (changed, missing) in damages.items():
        (place / name).write_bytes(b"x")
        with pytest.raises(CheckpointError, match=changed):
            folder.load(2)
        (place / name).unlink()
        with pytest.raises(CheckpointError, match=missing):
            folder.load(2)
        shutil.copy(whole / name, place / name)
    assert folder.load(2).step == 2
    (place / "manifest.json").write_text(json.dumps({"state.pt": sums["state.pt"]}))
    with pytest.raises(CheckpointError, match=r"does not name about\.json"):
        folder.verify(2)


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("odd\nmore"), "odd$"), (ValueError(), "ValueError$")]
)
def test_what_torch_cannot_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    """Though its sum is right: one line, whatever the reason is."""
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2)

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(module.torch, "load", fail)
    with pytest.raises(CheckpointError, match=f"step_00000002: cannot be read: {said}"):
        folder.load(2)


def test_two_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2, 4, 6)
    assert folder.steps() == [4, 6]


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(module, "FORMAT_VERSION", 2)
    saved(folder, 2)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format_version must be 1, got 2"):
        folder.load(2)


def test_later_ones_are_dropped(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 2, 4, 6, keep=9)
    for name in ("step_12", "step_000000012", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "step_00000099").write_text("no folder")
    assert folder.steps() == [2, 4, 6]
    folder.drop_after(4)
    assert folder.steps() == [2, 4]


def test_a_full_disk_is_noticed_before_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    usage = namedtuple("usage", "total used free")
    need = num_bytes(state_of(2))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(need, 1, need - 1))
    with pytest.raises(ResourceError, match="Make room; the same command resumes"):
        saved(folder, 2)
    assert [*folder.path.iterdir()] == []
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(0, 0, need))
    saved(folder, 2)
    assert folder.steps() == [2]


def test_a_write_that_fails_names_what_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "save", fail)
        with pytest.raises(ResourceError, match=r"the disk is full.*there is none yet"):
            saved(folder, 2)
    saved(folder, 4, keep=9)
    with monkeypatch.context() as patch:
        patch.setattr(module.torch, "save", fail)
        with pytest.raises(ResourceError, match=r"the disk is full.*step_00000004 is whole"):
            saved(folder, 6)
    assert folder.steps() == [4]
    assert (tmp_path / "latest").read_text() == "step_00000004"


def test_bytes_are_those_of_the_tensors_and_a_little() -> None:
    state = {"a": torch.zeros(1000), "b": [torch.zeros(10, dtype=torch.float64), 3, "x"]}
    assert 4080 <= num_bytes(state) <= 4080 + 2000
    assert num_bytes({}) < 1000


def test_what_does_not_fit_is_a_checkpoint_error(tmp_path: Path) -> None:
    for error in (KeyError("a"), TypeError("b"), RuntimeError("c")):
        refused = pytest.raises(CheckpointError, match="lacks or does not fit")
        with refused, missing_parts_as_errors(tmp_path):
            raise error


def test_what_a_kill_left_undone_is_settled(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path)
    saved(folder, 1, 2, 3, keep=9, best=[1])
    shutil.copytree(tmp_path / "step_00000002", tmp_path / "step_00000000")
    (tmp_path / "latest").write_text("step_00000002")
    (tmp_path / "best").unlink()
    folder.settle(3, [1], keep=2)
    assert folder.steps() == [1, 2, 3]
    assert (tmp_path / "latest").read_text() == "step_00000003"
    assert (tmp_path / "best").read_text() == "step_00000001"


def test_a_state_has_the_same_bytes_after_it_was_loaded(tmp_path: Path) -> None:
    first, second = CheckpointFolder(tmp_path / "a"), CheckpointFolder(tmp_path / "b")
    state = {"train": {"step": 1}, "optimizer": {"state": {n: {"step": 1} for n in range(3)}}}
    first.save(1, state, {})
    loaded = first.load(1).state
    loaded["train"] = {"step": 1}  # as a resumed training makes its own
    second.save(1, loaded, {})
    names = ("a/step_00000001/state.pt", "b/step_00000001/state.pt")
    assert len({(tmp_path / name).read_bytes() for name in names}) == 1
