"""A system without certain calls, as on file systems without locks, mmap, links or fsync.

`deny(["lock"])` lets these calls of this process, and of all that it starts, fail with the error
that such file systems report: those of Python and those of SQLite, blosc2 and safetensors alike.
The kernel itself refuses them (seccomp), for which no rights are needed.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence

LOCK_COMMANDS = (5, 6, 7, 36, 37, 38)
"""F_GETLK, F_SETLK, F_SETLKW and those of open file descriptions."""
READ_SHARED, KIND = (1, 1), 0x2F
"""PROT_READ and MAP_SHARED of a map of a file, and the bits of the flags that say so."""
CALLS = {
    "x86_64": {"fcntl": 72, "flock": 73, "fsync": 74, "fdatasync": 75, "link": 86, "symlink": 88,
               "linkat": 265, "symlinkat": 266, "mmap": 9, "statfs": 137, "fstatfs": 138},
    "aarch64": {"fcntl": 25, "flock": 32, "fsync": 82, "fdatasync": 83, "linkat": 37,
                "symlinkat": 36, "mmap": 222, "statfs": 43, "fstatfs": 44},
}  # fmt: skip
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
KINDS = {
    "lock": (("fcntl", "flock"), errno.ENOLCK),
    "lockless": (("fcntl", "flock"), errno.ENOSYS),
    "fsync": (("fsync", "fdatasync"), errno.EINVAL),
    "mmap": (("mmap",), errno.ENODEV),
    "link": (("link", "linkat", "symlink", "symlinkat"), errno.EPERM),
    "statfs": (("statfs", "fstatfs"), errno.ENOSYS),
}
"""What can be denied: the system's calls, and the error that they return."""
_LOAD, _EQUAL, _AND, _RETURN = 0x20, 0x15, 0x54, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def is_possible() -> bool:
    """Whether calls can be denied on this machine; asked in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            deny(["statfs"])
            os.statvfs("/")
        except OSError as error:
            os._exit(0 if error.errno == errno.ENOSYS else 1)
        except BaseException:
            os._exit(1)
        os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def deny(kinds: Sequence[str]) -> None:
    """Let the calls of these kinds fail from now on.

    Raises:
        OSError: the kernel has no such filters.
        KeyError: there is no such kind, or it is another kind of machine.
    """
    machine = platform.machine()
    filters = [step(_LOAD, _ARCHITECTURE), step(_EQUAL, ARCHITECTURES[machine], 1, 0),
               step(_RETURN, _ALLOW)]  # fmt: skip
    for kind in kinds:
        names, number = KINDS[kind]
        for name in names:
            if name in CALLS[machine]:
                filters += refusal(name, CALLS[machine][name], number)
    filters.append(step(_RETURN, _ALLOW))
    _install(b"".join(filters))


def refusal(name: str, call: int, number: int) -> list[bytes]:
    """The filter of one call: those that follow see the next call."""
    refuse = step(_RETURN, _ERROR | number)
    if name == "fcntl":
        tests = [step(_LOAD, _ARGUMENTS + 8)]
        for count, command in enumerate(LOCK_COMMANDS):
            tests.append(step(_EQUAL, command, len(LOCK_COMMANDS) - count, 0))
        inner = [*tests, step(_RETURN, _ALLOW), refuse]
    elif name == "mmap":
        protection, shared = READ_SHARED
        inner = [
            step(_LOAD, _ARGUMENTS + 16), step(_EQUAL, protection, 1, 0), step(_RETURN, _ALLOW),
            step(_LOAD, _ARGUMENTS + 24), step(_AND, KIND), step(_EQUAL, shared, 1, 0),
            step(_RETURN, _ALLOW), refuse,
        ]  # fmt: skip
    else:
        inner = [refuse]
    return [step(_LOAD, _NUMBER), step(_EQUAL, call, 0, len(inner)), *inner]


def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction of a filter."""
    return struct.pack("HBBI", code, if_true, if_false, value)


def _install(filters: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    memory = ctypes.create_string_buffer(filters)
    program = struct.pack("HxxxxxxQ", len(filters) // 8, ctypes.addressof(memory))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "no filter of system calls")
