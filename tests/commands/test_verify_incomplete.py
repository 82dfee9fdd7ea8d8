"""`vae3d verify` of folders that lost something, are unfinished, or may not be read."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.damage import flipped
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.verify import VerifyConfig
from vae3d.commands.verify_run import verify
from vae3d.errors import DamageError, UnfinishedError
from vae3d.files.checksums import CHECKSUMS
from vae3d.latents.file import SUFFIX
from vae3d.store.catalog import Catalog, Journal

GONE = {
    "run/weights": ("2 files missing", "run/weights/best: is missing; the run saved its best"),
    "run/weights/best": ("1 file missing", "run/weights/best: is missing"),
    "run/weights/latest": ("1 file missing", "run/weights/latest: is missing"),
    "run/checkpoints": ("1 file missing", "step_00000002: is missing; status.json names it"),
    "run/checkpoints/step_00000002": ("1 file missing", "checkpoints/latest names it"),
    "run/report/full/cases": ("1 file missing", "full/cases: is missing, with"),
    "latents/cases": ("1 file missing", "latents/cases: is missing, with 6 files"),
    "store/cases": ("1 file missing", "store/cases: is missing, with 4 files"),
    "store/cases/*": ("1 file missing", "is missing, with 1 file"),
}
"""Folders that are gone, and what is printed."""


@pytest.mark.parametrize("name", GONE)
def test_a_folder_that_is_gone_is_named(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, line = GONE[name]
    shutil.rmtree(next(copy.glob(name)))
    with pytest.raises(DamageError, match=verdict) as caught:
        verify(VerifyConfig(folder=str(copy)))
    assert caught.value.exit_code == 3
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run/weights/best", "run/checkpoints/step_00000002"])
def test_a_folder_without_its_files_is_as_one_that_is_gone(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy / name)
    (copy / name).mkdir()
    with pytest.raises(DamageError, match="1 file missing"):
        verify(VerifyConfig(folder=str(copy)))
    assert f"missing: {copy / name}: holds none of its files" in capsys.readouterr().out


def test_checkpoints_that_newer_ones_replaced_are_not_missed(copy: Path) -> None:
    """`status.json` of a training that was killed names the checkpoint from which it began."""
    path = copy / "run/status.json"
    status = {**json.loads(path.read_text()), "state": "running", "last_checkpoint": 1}
    path.write_text(json.dumps(status))
    assert verify(VerifyConfig(folder=str(copy))).is_whole


def test_weights_without_a_record_are_said_to_be_checked_in_part(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = copy / "hub"
    hub.mkdir()
    for name in ("config.json", "model.safetensors"):
        # The hub's cache is made of links.
        (hub / name).symlink_to(copy / "run/weights/best" / name)
    assert verify(VerifyConfig(folder=str(hub))).is_whole
    out = capsys.readouterr().out
    assert f"no checksum: {hub / 'config.json'}: there is no checksums.json, as in weights" in out
    assert "model.safetensors is compared with config.json" in out


def without_the_end(copy: Path, name: str) -> Path:
    """A folder as a command leaves it that was killed before its end."""
    folder = copy / name
    if name == "latents":
        (folder / "manifest.csv").unlink()
    if name == "store":
        parts = folder / "parts"
        records = Catalog(folder / "catalog.sqlite").records()
        for record in records:
            Journal(parts / "00000-of-00001.jsonl").append(record)
        (folder / "catalog.sqlite").unlink()
    if name == "decoded":
        (folder / ".finished").rename(folder / ".unfinished")
    else:
        (folder / CHECKSUMS).unlink()
    return folder


@pytest.mark.parametrize("name", ["latents", "store", "decoded"])
def test_an_unfinished_folder_is_no_damage_and_its_files_are_verified(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = without_the_end(copy, name)
    with pytest.raises(UnfinishedError, match="1 folder unfinished") as caught:
        verify(VerifyConfig(folder=str(folder)))
    assert caught.value.exit_code == 75
    out = capsys.readouterr().out
    assert "the same command resumes it" in out
    assert "damaged" not in out
    scans = [path for path in folder.rglob("*.*") if path.suffix in (".b2nd", ".gz", SUFFIX)]
    assert f"whole: {len(scans)} files" in out
    flipped(scans[0])
    with pytest.raises(DamageError, match=r"1 file damaged.* 1 folder unfinished"):
        verify(VerifyConfig(folder=str(folder)))


@pytest.mark.parametrize("is_finished", [True, False])
def test_what_is_a_link_now_is_not_followed(copy: Path, is_finished: bool) -> None:
    folder = copy / "decoded" if is_finished else without_the_end(copy, "decoded")
    file = min(folder.glob("*.nii.gz"))
    file.rename(copy / "elsewhere.nii.gz")
    file.symlink_to(copy / "elsewhere.nii.gz")
    with pytest.raises(DamageError, match="1 file damaged"):
        verify(VerifyConfig(folder=str(folder)))


def test_latents_to_which_cases_are_added_are_unfinished(copy: Path) -> None:
    (copy / "latents/.unfinished").touch()
    with pytest.raises(UnfinishedError):
        verify(VerifyConfig(folder=str(copy / "latents")))
    encode(EncodeConfig(run=str(copy / "run"), output=str(copy / "latents"), device="cpu"))
    assert verify(VerifyConfig(folder=str(copy / "latents"))).counts["unfinished"] == 0


def test_a_folder_that_a_command_writes_now_is_said_to_be_written(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae3d.verification.latents.is_held", lambda path: path.name == ".lock")
    with pytest.raises(UnfinishedError):
        verify(VerifyConfig(folder=str(without_the_end(copy, "latents"))))
    assert "vae3d encode is at work" in capsys.readouterr().out


def deny(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Refuse to list or to open anything at or below a place; this process may read everything."""
    original = {name: getattr(os, name) for name in ("scandir", "open", "stat")}

    def guarded(name: str) -> Callable[..., Any]:
        def act(path: Any, *arguments: Any, **named: Any) -> Any:
            inside = isinstance(path, str | Path) and Path(path).is_relative_to(place)
            if inside and (name != "stat" or Path(path) != place):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original[name](path, *arguments, **named)

        return act

    for name in original:
        monkeypatch.setattr(os, name, guarded(name))


@pytest.mark.parametrize(
    "name",
    [
        "run/weights",
        "run/config.yaml",
        "run/cases.csv",
        "run/weights/best/config.json",
        "run/weights/best/model.safetensors",
        "run/checkpoints/step_00000002/state.pt",
        "run/checkpoints/step_00000002/manifest.json",
        "run/report/full/scores.csv",
        "run/report/full/summary.json",
        "latents/manifest.csv",
        "latents/cases",
        "store/store.json",
        "store/catalog.sqlite",
        "store/cases",
        "decoded/*.nii.gz",
    ],
)
def test_what_may_not_be_read_is_named_and_the_rest_is_checked(
    copy: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = min(copy.glob(name))
    deny(monkeypatch, closed)
    with pytest.raises(DamageError, match="unreadable: ask for the right"):
        verify(VerifyConfig(folder=str(copy)))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("unreadable: ")]
    assert lines
    for line in lines:
        assert str(closed) in line
        assert "cannot be read (Permission denied)" in line
    assert not re.search("^(damaged|changed|missing)", out, re.MULTILINE)
    assert int(re.search(r"^whole: (\d+)", out, re.MULTILINE)[1]) > 10  # type: ignore[index]
