"""File systems without locks, memory maps, links, fsync or a count of their free bytes."""

import errno
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import vae3d
from tests.faults.denied import deny, is_possible
from vae3d.errors import VolumeError
from vae3d.files.lock import locked
from vae3d.store.arrays import open_array, write_array
from vae3d.system import abilities

pytestmark = pytest.mark.skipif(not is_possible(), reason="the kernel denies no system calls here")

TINY = ("model=tiny", "trainer.steps=2", "trainer.batch_size=2", "trainer.checkpoint_every=1",
        "patching.size=16", "patching.per_volume=2", "trainer.device=cpu")  # fmt: skip
NOTICES = {
    "lock": "this file system has no locks: two processes that write here at the same time",
    "lockless": "this file system has no locks: two processes that write here at the same time",
    "fsync": "this file system cannot flush files to the disk",
    "mmap": "this file system has no memory maps",
    "link": None,
    "statfs": None,
}
ALL = ",".join(kind for kind in NOTICES if kind != "lock")


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small scans as `.npy`, in Hounsfield units."""
    folder = tmp_path_factory.mktemp("scans")
    for number in range(8):
        voxels = np.random.default_rng(number).integers(-1000, 1000, (16, 16, 16))
        np.save(folder / f"case{number}.npy", voxels.astype(np.int16))
    return folder


@pytest.fixture
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "_reported", set())


def commands(scans: Path, workers: int = 1) -> list[tuple[str, ...]]:
    """Each command once, the training twice: the second time it resumes."""
    data = ("data=ct", f"data.root={scans}")
    return [
        ("prepare", *data, "data.store=prepared", "data.codec=none"),
        ("train", *data, "data.store=store", "name=run", *TINY),
        ("train", *data, "data.store=store", "name=run", *TINY, "trainer.steps=3"),
        ("train", *data, "data.store=store", "name=other", *TINY, f"data.workers={workers}"),
        ("eval", "run=runs/run", "split=all", "evaluation.media=[]", "output=report"),
        ("eval", "run=runs/other", "split=all", "evaluation.media=[]", "output=report2"),
        ("compare", "report", "report2"),
        ("encode", "run=runs/run", "output=latents"),
        ("decode", "run=runs/run", "input=latents", "output=decoded"),
        ("reconstruct", "run=runs/run", f"input={scans}", "output=reconstructed"),
    ]


def products(folder: Path) -> dict[str, bytes]:
    """The files whose bytes do not depend on time and place."""
    wanted = ("*.safetensors", "*.b2nd", "*.npy", "metrics.csv", "scores.csv", "catalog.sqlite")
    files = (path for pattern in wanted for path in folder.rglob(pattern))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run_all(folder: Path, lines: list[tuple[str, ...]], kinds: str) -> dict[str, bytes]:
    folder.mkdir()
    said = ""
    for line in lines:
        done = vae3d(*line, cwd=folder, VAE3D_TEST_DENY=kinds)
        assert done.returncode == 0, (kinds, line, done.stderr)
        assert "Traceback" not in done.stderr, (kinds, line, done.stderr)
        for notice in filter(None, NOTICES.values()):
            assert done.stderr.count(notice) <= 1, (kinds, line, done.stderr)
        said += done.stderr
    for kind in filter(None, kinds.split(",")):
        assert (NOTICES[kind] or "") in said, (kind, said)
    return products(folder)


def test_a_store_and_a_training_are_the_same_where_calls_are_lacking(
    scans: Path, tmp_path: Path
) -> None:
    lines = [commands(scans)[0], commands(scans)[1]]
    expected = run_all(tmp_path / "whole", lines, "")
    assert len(expected) > 16
    assert run_all(tmp_path / "lacking", lines, ALL) == expected


@pytest.mark.faults
@pytest.mark.parametrize("kinds", [*NOTICES, ALL])
def test_every_command_works_where_calls_are_lacking(
    kinds: str, scans: Path, tmp_path: Path
) -> None:
    expected = run_all(tmp_path / "whole", commands(scans), "")
    # Semaphores of loader workers are links in memory, which the kernel then denies as well.
    workers = 0 if "link" in kinds else 1
    assert run_all(tmp_path / "lacking", commands(scans, workers), kinds) == expected


def test_loader_workers_that_cannot_be_started_are_one_line(scans: Path, tmp_path: Path) -> None:
    line = commands(scans)[3]
    done = vae3d(*line, cwd=tmp_path, VAE3D_TEST_DENY="link")
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("vae3d: a loader worker failed")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def in_fork(function: object) -> int:
    """The exit code of a forked process that calls the function: 0, or 1 after an exception."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()  # type: ignore[operator]
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_arrays_are_read_without_maps_and_damage_is_noticed(codec: str, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (1, 20, 30, 70)).astype(np.int16)
    path = tmp_path / f"a.{'npy' if codec == 'none' else 'b2nd'}"
    write_array(path, voxels, codec)
    cut = tmp_path / f"cut{path.suffix}"
    cut.write_bytes(path.read_bytes()[:-2000])

    def read() -> None:
        deny(["mmap"])
        array, _ = open_array(path)
        box = (slice(0, 1), slice(3, 9), slice(0, 30), slice(60, 70))
        assert np.array_equal(array[box], voxels[box])
        with pytest.raises((VolumeError, ValueError)):
            open_array(cut)[0][(slice(0, 1), *[slice(None)] * 3)]

    assert in_fork(read) == 0


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize(
    ("number", "lacking"),
    [(errno.ENOLCK, True), (errno.EOPNOTSUPP, True), (errno.EIO, False), (errno.EAGAIN, False)],
)
def test_a_lock_that_does_not_exist_is_not_held_by_someone(
    number: int,
    lacking: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.lockf", refuse)
    for _ in range(2):
        if lacking:
            with locked(tmp_path / ".lock"):
                pass
        else:
            kind = "another process" if number == errno.EAGAIN else "Input/output error"
            with pytest.raises(Exception, match=kind), locked(tmp_path / ".lock"):
                pass
    assert len(caplog.records) == lacking


@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_to_flush_is_an_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        abilities.flush(tmp_path)


def test_a_mac_flushes_its_drive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("fcntl.F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr("fcntl.fcntl", lambda _, command: asked.append(command))
    abilities.flush(tmp_path)
    assert asked == [51]


def test_a_catalog_is_written_without_locks(tmp_path: Path) -> None:
    def write() -> None:
        deny(["lock"])
        with (
            closing(sqlite3.connect(tmp_path / "plain.sqlite")) as plain,
            pytest.raises(sqlite3.OperationalError),
        ):
            plain.execute("CREATE TABLE a (b)")
        uri = f"{(tmp_path / 'a.sqlite').as_uri()}?nolock=1"
        with closing(sqlite3.connect(uri, uri=True)) as catalog:
            catalog.execute("CREATE TABLE a (b)")

    assert in_fork(write) == 0
