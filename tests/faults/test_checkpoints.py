"""No damaged checkpoint is ever loaded, and a full disk costs nothing that was saved."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.faults.forked import at_step, completed, digest, ended, log_of, signalled, started, toy
from vae3d.checkpoints.files import ABOUT, MANIFEST, STATE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.checkpoints.state import num_bytes
from vae3d.errors import CheckpointError, ResourceError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with checkpoints of steps 6 and 9."""
    return completed(toy(tmp_path_factory.mktemp("run"), steps=9))


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def damaged(data: bytes, kind: str, draw: random.Random) -> bytes:
    """The bytes of a file with one thing wrong with them."""
    place = draw.randrange(len(data))
    if kind == "bit":
        flipped = data[place] ^ (1 << draw.randrange(8))
        return data[:place] + bytes([flipped]) + data[place + 1 :]
    if kind == "page":
        start = place // 4096 * 4096
        page = data[start : start + 4096]
        return data[:start] + bytes(len(page)) + data[start + 4096 :]
    if kind == "cut":
        return data[:place]
    if kind == "garbage":
        return data + draw.randbytes(1 + place % 5000)
    return draw.randbytes(len(data))


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=pytest.mark.faults)])
def test_damage_is_named_and_the_one_before_is_loaded(
    run: Path, tmp_path: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(run / "checkpoints", folder)
    checkpoints = CheckpointFolder(folder)
    good, before = checkpoints.load(9), checkpoints.load(6)
    draw = random.Random(0)
    kinds = ("bit", "bit", "bit", "page", "cut", "garbage", "other")
    silent = refused = 0
    for _ in range(count):
        path = folder / "step_00000009" / draw.choice([STATE, STATE, STATE, ABOUT, MANIFEST])
        data = path.read_bytes()
        wrong = damaged(data, draw.choice(kinds), draw)
        path.write_bytes(wrong)
        caplog.clear()
        found = checkpoints.newest()
        assert found is not None
        if found.step == 6:
            refused += 1
            assert same(found.state, before.state)
            assert "step_00000009" in caplog.messages[0]
            with pytest.raises(CheckpointError, match="step_00000009"):
                checkpoints.load(9)
        elif wrong != data and not (same(found.state, good.state) and found.about == good.about):
            silent += 1
        path.write_bytes(data)
    assert silent == 0
    assert refused > 0.9 * count, "a byte of a manifest's white space may change unnoticed"


def test_files_that_changed_places_are_refused(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    shutil.copytree(run / "checkpoints", folder)
    shutil.copy(folder / "step_00000006" / STATE, folder / "step_00000009" / STATE)
    checkpoints = CheckpointFolder(folder)
    with pytest.raises(CheckpointError, match=r"state\.pt: damaged, its SHA-256 is"):
        checkpoints.load(9)
    shutil.rmtree(folder / "step_00000006")
    with pytest.raises(CheckpointError, match="none of its 1 checkpoints is whole"):
        checkpoints.newest()
    (folder / "step_00000009" / STATE).unlink()
    with pytest.raises(CheckpointError, match=r"state\.pt: is missing"):
        checkpoints.load(9)


def test_a_newer_format_is_refused(run: Path, tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    checkpoints.save(1, {"a": torch.zeros(2)}, {"format_version": 99})
    with pytest.raises(CheckpointError, match="format_version must be 1, got 99"):
        checkpoints.load(1)


@pytest.mark.parametrize("key", ["train", "model", "ema", "optimizer", "scaler", "sampler"])
def test_no_part_of_a_state_may_be_missing(run: Path, tmp_path: Path, key: str) -> None:
    config = toy(tmp_path, steps=12)
    shutil.copytree(run, config.folder)
    checkpoints = CheckpointFolder(config.folder / "checkpoints")
    found = checkpoints.load(9)
    for change in ("without", "renamed"):
        state = {k: v for k, v in found.state.items() if k != key}
        if change == "renamed":
            state[key] = {f"{k}_": v for k, v in found.state[key].items()}
        if key == "scaler" and change == "renamed":
            continue  # empty without float16
        checkpoints.save(9, state, found.about)
        assert ended(started(config)) == CheckpointError.exit_code, log_of(config).read_text()
        assert "Traceback" not in log_of(config).read_text()


def test_an_asked_for_step_is_never_replaced(run: Path, tmp_path: Path) -> None:
    config = toy(tmp_path, steps=9, keep_checkpoints=3)
    expected = digest(completed(config))
    config.trainer.resume = 6
    folder = completed(config)
    assert "returns to step 6" in log_of(config).read_text()
    assert digest(folder) == expected
    state = folder / "checkpoints/step_00000006" / STATE
    state.write_bytes(damaged(state.read_bytes(), "bit", random.Random(0)))
    assert ended(started(config)) == CheckpointError.exit_code
    assert "step_00000006/state.pt: damaged" in log_of(config).read_text().splitlines()[-1]


def test_the_last_good_ones_stay(tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(tmp_path)
    for step in range(1, 6):
        checkpoints.save(step, {"a": torch.full((4,), step)}, {}, keep=2)
    assert checkpoints.steps() == [4, 5]
    path = tmp_path / "step_00000005" / STATE
    path.write_bytes(damaged(path.read_bytes(), "bit", random.Random(0)))
    checkpoints.save(6, {"a": torch.zeros(4)}, {}, keep=2)
    assert checkpoints.steps() == [4, 6], "two that verify, the damaged one is none of them"
    checkpoints.save(7, {"a": torch.zeros(4)}, {}, best=[4], keep=2)
    assert checkpoints.steps() == [4, 6, 7]


@pytest.mark.parametrize("count", [5, pytest.param(20, marks=pytest.mark.faults)])
def test_a_disk_that_fills_up_while_saving(tmp_path: Path, count: int) -> None:
    (tmp_path / "whole").mkdir()
    expected = digest(completed(toy(tmp_path / "whole", steps=9)))
    whole = tmp_path / "whole/run/checkpoints/step_00000009" / STATE
    for number in range(count):
        room = whole.stat().st_size * number // count
        folder = tmp_path / f"full{number}"
        folder.mkdir()
        config = toy(folder, steps=9)
        assert ended(started(config, at_step(6, signalled(signal.SIGTERM)))) == 75

        def limited(room: int = room) -> None:
            # No file may grow beyond: what a write to a full disk meets, at another number.
            save = CheckpointFolder.save

            def fuller(*arguments: Any, **named: Any) -> None:
                hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
                try:
                    save(*arguments, **named)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

            CheckpointFolder.save = fuller  # type: ignore[method-assign]

        assert ended(started(config, limited)) == ResourceError.exit_code
        said = log_of(config).read_text()
        assert "the limit of this shell (ulimit -f)" in said, said
        assert "step_00000006 is whole" in said, said
        assert "Traceback" not in said
        assert json.loads((config.folder / "status.json").read_text())["state"] == "failed"
        checkpoints = CheckpointFolder(config.folder / "checkpoints")
        assert checkpoints.newest().step == 6  # type: ignore[union-attr]
        assert digest(completed(config)) == expected


def test_a_disk_without_room_is_told_beforehand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"model": {"weight": torch.zeros(3 * 2**18)}}
    assert 3 * 2**20 <= num_bytes(state) < 3.1 * 2**20
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match=r"takes 3 MiB, the disk has 1: 2 MiB are missing"):
        CheckpointFolder(tmp_path / "c").save(1, state, {})
    assert CheckpointFolder(tmp_path / "c").steps() == []


def test_a_full_disk(tmp_path: Path) -> None:
    """A real one, of six megabytes, where this system lets a test mount it."""
    script = (
        "mount -t tmpfs -o size=6m tmpfs disk && cd disk && "
        f"{sys.executable} -m vae3d train trainer=debug model=tiny 'data.shape=[16,16,16]' "
        "'patching.size=[8]' data.count=7 trainer.steps=400 trainer.checkpoint_every=1 "
        "trainer.keep_checkpoints=50 'evaluation.media=[]'; code=$?; cp -r runs ../kept; "
        "exit $code"
    )
    (tmp_path / "disk").mkdir()
    command = ["unshare", "-rm", "sh", "-c", script]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("no namespaces here")
    assert done.returncode == ResourceError.exit_code, done.stderr
    assert "Traceback" not in done.stderr
    assert "MiB" in done.stderr.splitlines()[-1]
    assert CheckpointFolder(tmp_path / "kept/vae3d/checkpoints").newest() is not None
