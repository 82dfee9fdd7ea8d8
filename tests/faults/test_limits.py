"""The limit that was reached is named, with the way to raise it."""

import errno
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import vae3d
from vae3d.errors import DataError, ResourceError
from vae3d.files.atomic import atomic_write
from vae3d.system.limits import limit_reached, limits_as_errors

TINY = ("model=tiny", "trainer.steps=2", "trainer.batch_size=2", "trainer.device=cpu",
        "patching.size=16", "patching.per_volume=2")  # fmt: skip
PHANTOMS = ("data.count=4", "data.shape=[16,16,16]")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), ["the disk is full", "MiB are"]),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a"), ["quota"]),
        (OSError(errno.EFBIG, "File too large", "a"), ["file system allows"]),
        (OSError(errno.EMFILE, "Too many open files", "a"), ["ulimit -n", "data.workers"]),
        (OSError(errno.ENFILE, "Too many open files in system", "a"), ["fs.file-max"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["memory left"]),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["ulimit -u"]),
        (RuntimeError("can't start new thread"), ["ulimit -u"]),
        (MemoryError(), ["memory left"]),
        (RuntimeError("I/O error: No space left on device (os error 28)"), ["the disk is full"]),
        (RuntimeError("unable to write to file </torch_1_2>: No space left on device (28)"),
         ["shared memory", "data.workers=0", "/dev/shm"]),
        (RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error. It is possible "
                      "that dataloader's workers are out of shared memory."), ["shared memory"]),
        (RuntimeError("unable to open shared memory object </torch_1>: Too many open files (24)"),
         ["ulimit -n"]),
    ],
)  # fmt: skip
def test_each_limit_has_a_name_and_a_way_out(error: Exception, words: list[str]) -> None:
    reason = limit_reached(error)
    assert reason is not None
    assert all(word in reason for word in words), reason


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error", "a"), ValueError("x"), DataError("disk is full"),
     FileNotFoundError(errno.ENOENT, "No such file", "a")],
)  # fmt: skip
def test_other_errors_are_about_no_limit(error: Exception) -> None:
    assert limit_reached(error) is None
    with pytest.raises(type(error)), limits_as_errors():
        raise error


def test_a_file_system_without_inodes_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = os.statvfs(tmp_path)
    monkeypatch.setattr("os.statvfs", lambda _: type(full)([*full[:7], 0, *full[8:]]))
    reason = limit_reached(OSError(errno.ENOSPC, "No space", str(tmp_path / "a")))
    assert reason is not None
    assert "no inodes left (df -i)" in reason


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_the_file_is_named_and_not_its_temporary_one(
    kind: type[Exception], tmp_path: Path
) -> None:
    text = os.strerror(errno.ENOSPC)
    error = OSError(errno.ENOSPC, text) if kind is OSError else kind(f"failed: {text}")
    with (
        pytest.raises(ResourceError) as caught,
        limits_as_errors(),
        atomic_write(tmp_path / "model.bin"),
    ):
        raise error
    assert str(caught.value).startswith(f"{tmp_path / 'model.bin'}: the disk is full")
    assert not [*tmp_path.iterdir()]


def in_fork(limit: int, value: int, function: object, report: Path) -> str:
    """What a forked process with a limit reports."""
    pid = os.fork()
    if pid == 0:
        file = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            resource.setrlimit(limit, (value, value))
            with limits_as_errors():
                function()  # type: ignore[operator]
        except ResourceError as error:
            os.write(file, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return report.read_text()


def test_memory_and_files_of_a_process_that_is_limited(tmp_path: Path) -> None:
    report = tmp_path / "report"
    cases = (
        (resource.RLIMIT_AS, 2**36, lambda: torch.empty(2**36), "65,536 MiB (ulimit -v)"),
        (resource.RLIMIT_AS, 2**36, lambda: np.empty(2**34), "65,536 MiB (ulimit -v)"),
        (resource.RLIMIT_NOFILE, 90, lambda: [os.open("/", 0) for _ in range(99)], "90; raise"),
    )
    for limit, value, function, words in cases:
        assert words in in_fork(limit, value, function, report)


def limited(folder: Path, *words: str, size: int) -> tuple[int, str]:
    """A command of a shell that limits the size of files, in bytes."""
    done = vae3d(*words, cwd=folder, VAE3D_TEST_FILE_SIZE=str(size))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_a_limit_of_file_sizes_is_named_and_the_same_command_resumes(
    size: int, tmp_path: Path
) -> None:
    words = ("train", "name=run", *PHANTOMS, *TINY)
    code, said = limited(tmp_path, *words, size=size)
    assert code == 6, said
    assert "ulimit -f" in said.splitlines()[-1]
    status = tmp_path / "runs/run/status.json"
    if status.exists():  # with the smaller limit not even the settings could be written
        assert json.loads(status.read_text())["exit_code"] == 6
    done = vae3d(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("codec", ["lz4", "none"])
def test_a_store_does_not_keep_an_array_that_was_cut_off(codec: str, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    voxels = np.random.default_rng(0).integers(-1000, 1000, (48, 48, 48)).astype(np.int16)
    np.save(tmp_path / "scans/a.npy", voxels)
    words = ("prepare", "data=ct", "data.root=scans", "data.store=store", f"data.codec={codec}")
    code, said = limited(tmp_path, *words, size=100_000)
    assert code == 6, said
    assert "ulimit -f" in said.splitlines()[-1]
    assert not [*(tmp_path / "store").rglob("*.b2nd"), *(tmp_path / "store").rglob("*.npy")]
