"""The one way to open what a user or another file names: regular files, of a size that is allowed.

A pipe would keep a command waiting for ever, and a device may have no end. All errors are an
`OSError`, as those of `open` are, and `strerror` says what is wrong in plain words.
"""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

MIB = 2**20
MAX_REASON = 300
"""Characters of a library's own message that are repeated."""
MAX_TABLE_BYTES = 64 * MIB
"""Largest list of scans, manifest, or other table of cases: some 500,000 rows."""
MAX_LINE_BYTES = MIB
"""Longest line of a journal or of metrics.csv. A file of zeros, as a crash leaves, is one line."""
NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC
KINDS: dict[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def open_regular(
    path: Path, limit: int | None = None, *, linked: bool = True
) -> io.BufferedReader:
    """Open a file for reading; with `linked=False` it may not be a link itself.

    Raises:
        OSError: there is no such file, it is none (a folder, a pipe, a socket, a device), it is a
            link and may not be one, or it has more than `limit` bytes.
    """
    # Opening some devices does something, so they are refused before; what was opened is looked
    # at again, because another process may have put something else there in between.
    _check(path, _status(path, linked), limit)
    # A link that may not be followed is reported by the system as a loop of links.
    nofollow = 0 if linked else getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, os.O_RDONLY | NONBLOCKING | nofollow)
    try:
        _check(path, os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path, limit: int | None = None, *, linked: bool = True) -> None:
    """Raise the errors of `open_regular`, before a library opens the path by itself."""
    open_regular(path, limit, linked=linked).close()


def check_kind(path: Path) -> None:
    """Raise the errors of `open_regular` that one look at the path finds, without opening it.

    For libraries that open many small files themselves, where opening them twice would be slow.
    """
    _check(path, _status(path), None)


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


def open_text(path: Path, limit: int | None = MAX_TABLE_BYTES, errors: str = "strict") -> TextIO:
    """Open a table or a journal in UTF-8; its line ends are kept, as `csv.reader` needs them.

    Lines end with `\\n` or `\\r\\n`. `str.splitlines` would also split at the separators of
    Unicode, which names may contain.

    Raises:
        OSError: as `open_regular`. Reading may raise a UnicodeDecodeError.
    """
    return io.TextIOWrapper(open_regular(path, limit), "utf-8", errors, newline="")


def lines_of(file: io.BufferedReader, path: Path) -> Iterator[bytes]:
    """Yield the lines of the open file `path`, with their ends; the last may be cut off.

    Raises:
        OSError: a line has more than MAX_LINE_BYTES.
    """
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            reason = f"has a line of more than {MAX_LINE_BYTES / MIB:g} MiB"
            raise OSError(errno.EFBIG, reason, str(path))
        yield line


def reason_of(error: Exception) -> str:
    """Return why a file could not be read, on one line and without its path."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return "is no UTF-8 text"
    return " ".join(str(error).split())[:MAX_REASON] or type(error).__name__


def _status(path: Path, linked: bool = True) -> os.stat_result:
    try:
        return path.stat() if linked else path.lstat()
    except ValueError as error:  # a character 0, or half of a surrogate pair
        raise OSError(errno.EINVAL, "is a name that no file can have", str(path)) from error


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
