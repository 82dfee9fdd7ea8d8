"""gzip and its checksum, by zlib-ng if it is installed (`pip install 'vae3d[fast]'`).

Python's own zlib reads the same bytes from the same files, two to eight times slower.
"""

import gzip
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable

_reader: type[gzip.GzipFile] = gzip.GzipFile
_crc32: "Callable[[Any], int]" = zlib.crc32
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


def crc32(data: Any) -> int:
    """Return the CRC-32 of bytes, as `zlib.crc32` does; other threads can run meanwhile."""
    return _crc32(data)
