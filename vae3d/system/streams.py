"""Streams that outlive their reader: what is printed may be lost, the work continues.

The reader of a pipe may close it, the disk of a log may be full, a terminal may go away. None of
that is a reason to end a training. `keep_streams` makes the process's own stdout and stderr so;
`LastingText` does the same for a stream of someone else, such as a program that calls the library.
"""

import contextlib
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

NAMES = {1: "stdout", 2: "stderr"}
GONE = (errno.EPIPE, errno.EIO, errno.ENXIO, errno.EBADF, errno.ESTALE)
"""Errors of a stream that nobody will read again; after others, such as a full disk, writing is
tried again."""
PATIENCE = 10.0
"""Seconds to wait for room in a pipe that another program has made non-blocking."""
_lost: dict[int, OSError] = {}


class LastingFile(io.RawIOBase):
    """A file descriptor to write to, of which an error is remembered instead of raised."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.descriptor

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self.descriptor)

    def write(self, data: Any) -> int:
        """Write all bytes, or forget those that cannot be written."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest:
                try:
                    rest = rest[os.write(self.descriptor, rest) :]
                except BlockingIOError:
                    if not select.select([], [self.descriptor], [], PATIENCE)[1]:
                        raise
        except OSError as error:
            _lost.setdefault(self.descriptor, error)
            if error.errno in GONE:
                write_to_null(self.descriptor)
        return size


class LastingText:
    """A text stream of which errors of the system are passed over."""

    def __init__(self, stream: TextIO) -> None:
        # While rich shows a progress bar it puts a stream of its own in the place of stderr.
        self._stream: Any = getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        """Write the text, or a part of it."""
        with self._errors_passed_over():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._errors_passed_over():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _errors_passed_over(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            # Python would report what is still buffered once more when it exits.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                write_to_null(self._stream.fileno())
        except OSError:
            pass
        except ValueError:
            if not self._stream.closed:
                raise


def keep_streams() -> None:
    """Let this process's stdout and stderr outlive their readers; a second call changes nothing.

    A descriptor that was closed (`2>&-`) is opened as the null device: else the next file would
    get its number, and what C libraries print would end up in that file.
    """
    for descriptor in (0, *NAMES):
        if not _is_open(descriptor):
            write_to_null(descriptor)
    for name in NAMES.values():
        stream = getattr(sys, name)
        if stream is None:
            # Files that were opened since the start may have the number of the closed stream.
            null = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, null)
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream))


def lost_streams() -> dict[str, OSError]:
    """Return the streams that could not be written, each with its first error."""
    return {NAMES[descriptor]: error for descriptor, error in _lost.items()}


def write_to_null(descriptor: int) -> None:
    """Let a file descriptor lead to the null device."""
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    os.set_inheritable(descriptor, True)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _lasting(stream: TextIO) -> TextIO:
    """Return a stream like this one, on the same descriptor, that raises no errors."""
    try:
        file = LastingFile(stream.fileno())
        stream.flush()
    except OSError:
        return stream
    buffered = isinstance(stream.buffer, io.BufferedWriter)  # it is not under `python -u`
    buffer: Any = io.BufferedWriter(file) if buffered else file
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        newline="\n",
        line_buffering=bool(stream.line_buffering),
        write_through=not buffered,
    )
