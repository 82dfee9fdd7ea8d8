"""gzip and its checksum, by zlib-ng if it is installed (`pip install 'vae3d[fast]'`).

Python's own zlib reads the same bytes from the same files, two to eight times slower.
"""

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

_reader: type[gzip.GzipFile] = gzip.GzipFile
_crc32: Callable[[Any], int] = zlib.crc32
_PIECE = 2**20
GZIP_ERRORS: tuple[type[Exception], ...] = (zlib.error, gzip.BadGzipFile)
"""What reading raises if the bytes are no whole gzip file; EOFError if some are missing."""

try:
    from zlib_ng import gzip_ng, zlib_ng
except ImportError:
    pass
else:
    _reader, _crc32 = gzip_ng.GzipNGFile, zlib_ng.crc32
    GZIP_ERRORS += (cast(type[Exception], zlib_ng.error),)


def open_gzip(file: BinaryIO) -> BinaryIO:
    """Return a stream of what a gzip file holds; its checksum is verified at the end.

    Raises on reading:
        EOFError, GZIP_ERRORS: the file is truncated or damaged.
    """
    return cast(BinaryIO, _reader(fileobj=file, mode="rb"))


@contextlib.contextmanager
def exact_errors(file: BinaryIO) -> Iterator[None]:
    """Raise what Python's own gzip raises of the same file, which is open.

    zlib-ng calls a whole file with a few bytes after its end truncated.
    """
    try:
        yield
    except EOFError:
        file.seek(0)
        with gzip.GzipFile(fileobj=file, mode="rb") as stream:
            while stream.read(_PIECE):
                pass
        raise


def crc32(data: Any) -> int:
    """Return the CRC-32 of bytes, as `zlib.crc32` does; other threads can run meanwhile."""
    return _crc32(data)
