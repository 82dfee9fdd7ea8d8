"""The one way to open what a user or another file names: regular files, of a size that is allowed.

A pipe would keep a command waiting for ever, and a device may have no end. All errors are an
`OSError`, as those of `open` are, and `strerror` says what is wrong in plain words.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

MIB = 2**20
KINDS: dict[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def open_regular(path: Path, limit: int | None = None, *, linked: bool = True) -> BinaryIO:
    """Open a file for reading; with `linked=False` it may not be a link itself.

    Raises:
        OSError: there is no such file, it is none (a folder, a pipe, a socket, a device), it is a
            link and may not be one, or it has more than `limit` bytes.
    """
    # Opening some devices does something, so they are refused before; what was opened is looked
    # at again, because another process may have put something else there in between.
    _check(path, path.stat() if linked else path.lstat(), limit)
    # A link that may not be followed is reported by the system as a loop of links.
    nofollow = 0 if linked else getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | nofollow)
    try:
        _check(path, os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path, limit: int | None = None, *, linked: bool = True) -> None:
    """Raise the errors of `open_regular`, before a library opens the path by itself."""
    open_regular(path, limit, linked=linked).close()


def read_bytes(path: Path, limit: int, *, linked: bool = True) -> bytes:
    """Return the contents of a file of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path, limit, linked=linked) as file:
        # Files of the system state a size of 0 and have more.
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def read_text(
    path: Path,
    limit: int,
    encoding: str = "utf-8",
    errors: str = "strict",
    *,
    linked: bool = True,
) -> str:
    """Return the text of a file of at most `limit` bytes, with `\\n` for the end of each line.

    Raises:
        OSError: as `open_regular`.
        UnicodeDecodeError: it is no text of this encoding.
    """
    text = read_bytes(path, limit, linked=linked).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _check(path: Path, found: os.stat_result, limit: int | None) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, "is a link, and none is followed here", str(path))
    if not stat.S_ISREG(found.st_mode):
        kind = next(
            (name for name, fits in KINDS.items() if fits(found.st_mode)), "something else"
        )
        raise OSError(errno.EINVAL, f"is {kind}, not a file", str(path))
    if limit is not None and found.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> OSError:
    size = f"{limit / MIB:.3g} MiB" if limit >= MIB else f"{limit:,} bytes"
    return OSError(errno.EFBIG, f"has more than {size}, the limit for such a file", str(path))
