"""The limit of the machine that a command reached, by name, and how to raise it."""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from vae3d.errors import ResourceError, UserError
from vae3d.system.abilities import free_bytes

try:
    import resource
except ImportError:  # Windows has no limits of this kind
    resource = None  # type: ignore[assignment]

MIB = 2**20
SHARED_MEMORY = Path("/dev/shm")
NUMBERS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    errno.EAGAIN,
)
_IN_SHARED_MEMORY = ("shared memory", "/torch_", "Bus error")
_DEVICE_MEMORY = re.compile(
    r"CUDA out of memory|CUDA error: out of memory|CUDNN_STATUS_ALLOC_FAILED"
    r"|CUBLAS_STATUS_ALLOC_FAILED"
)
_NO_THREAD = "can't start new thread"
_SQLITE_FULL = "database or disk is full"


def limit_reached(error: BaseException) -> str | None:
    """Return which limit an error is about and what to do; None if it is about none."""
    if isinstance(error, UserError):
        return None
    text = str(error)
    if is_out_of_device_memory(error):
        return _device_memory(text)
    number = error_number(error)
    if number in (errno.ENOSPC, errno.ENOMEM, None) and any(w in text for w in _IN_SHARED_MEMORY):
        return _shared_memory()
    if number is None:
        return None
    place = Path(str(getattr(error, "filename", None) or "."))
    reasons: dict[int, Callable[[], str]] = {
        errno.ENOSPC: lambda: _full_disk(place),
        errno.EDQUOT: lambda: "your quota on this disk is used up (quota -s shows it); make room",
        errno.EFBIG: _file_size,
        errno.EMFILE: lambda: (
            f"too many open files, this process may have {_limit('RLIMIT_NOFILE')}; raise it with "
            "ulimit -n, or lower data.workers"
        ),
        errno.ENFILE: lambda: "the whole machine has too many open files (fs.file-max)",
        errno.ENOMEM: _memory,
        errno.EAGAIN: lambda: (
            f"no more processes or threads can be started, a user may have "
            f"{_limit('RLIMIT_NPROC')} (ulimit -u); end others, or lower data.workers"
        ),
    }
    return reasons[number]()


def is_out_of_device_memory(error: BaseException) -> bool:
    """Return whether an error is torch's about the memory of a GPU, without importing torch."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return "OutOfMemoryError" in names or bool(_DEVICE_MEMORY.search(str(error)))


def error_number(error: BaseException) -> int | None:
    """Return the system's number of an error of a limit, also where a library hid it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NUMBERS:
            return cause.errno
        if isinstance(cause, MemoryError):
            return errno.ENOMEM
        text = str(cause)
        if _NO_THREAD in text:
            return errno.EAGAIN
        if _SQLITE_FULL in text:
            return errno.ENOSPC
        # Libraries in C++ and Rust keep the system's words only.
        named = [n for n in NUMBERS if n != errno.EAGAIN and os.strerror(n) in text]
        if named and not isinstance(cause, OSError | UserError):
            return named[0]
        cause = cause.__cause__ or cause.__context__
    return None


@contextlib.contextmanager
def limits_as_errors() -> Iterator[None]:
    """Raise an error about a limit of the machine as a ResourceError that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if reason := limit_reached(error):
            place = getattr(error, "filename", None)
            raise ResourceError(f"{place}: {reason}" if place else reason) from error
        raise


@contextlib.contextmanager
def naming(path: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the system about `temporary`, or about no file, name `path`.

    Raises:
        OSError: a limit was reached, also where a library raises an error of its own.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename is None or Path(str(error.filename)).is_relative_to(temporary):
                error.filename = str(path)
            raise
        number = error_number(error) or _asked_again(temporary)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def _asked_again(temporary: Path) -> int | None:
    """Return why a file cannot grow; numpy and blosc2 do not say what the system answered."""
    try:
        if temporary.is_file():
            with temporary.open("ab") as file:
                file.write(bytes(2**16))
    except OSError as error:
        return error.errno
    return None


def _full_disk(place: Path) -> str:
    folder = next((p for p in place.absolute().parents if p.is_dir()), Path("/"))
    with contextlib.suppress(OSError):
        system = os.statvfs(folder)
        if system.f_files and not system.f_favail:
            return f"the file system of {folder} has no inodes left (df -i); remove files"
    free = free_bytes(folder)
    size = "" if free is None else f" ({free / MIB:.1f} MiB are free in {folder})"
    return f"the disk is full{size}; make room"


def _file_size() -> str:
    limit = _limit("RLIMIT_FSIZE", 2**10, " KiB")
    if limit == "no limit":
        return "the file would be larger than its file system allows; name another disk"
    return f"the file would be larger than {limit}, the limit of this shell (ulimit -f); raise it"


def _device_memory(text: str) -> str:
    """Return that a GPU's memory is used up, with the size that was asked for."""
    size = re.search(r"Tried to allocate ([\d.]+ [KMGT]?i?B)", text)
    asked = f" ({size[1]} more were needed)" if size else ""
    return (
        f"the GPU is out of memory{asked}; end other programs on it, or use less: memory=2 "
        "(evaluation.inference.memory=2 for vae3d eval), smaller images, or precision=bf16"
    )


def _memory() -> str:
    limit = _limit("RLIMIT_AS", MIB, " MiB")
    if limit == "no limit":
        return "the machine has no memory left; end other programs, or use smaller batches"
    return f"no memory left, this process may have {limit} (ulimit -v); raise it"


def _shared_memory() -> str:
    free = free_bytes(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None
    size = "" if free is None else f" ({free / MIB:.0f} MiB are free in {SHARED_MEMORY})"
    return (
        f"the shared memory of the loader workers is full{size}; type data.workers=0, or enlarge "
        "it (docker run --shm-size=8g)"
    )


def _limit(name: str, unit: int = 1, suffix: str = "") -> str:
    """Return a limit of this process as text, `no limit` without one."""
    if resource is None or not hasattr(resource, name):
        return "no limit"
    limit = resource.getrlimit(getattr(resource, name))[0]
    return "no limit" if limit == resource.RLIM_INFINITY else f"{limit // unit:,}{suffix}"
