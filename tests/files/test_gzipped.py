"""zlib-ng reads what Python's own zlib reads, and refuses what it refuses."""

import gzip
import io
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from vae3d.files.gzipped import GZIP_ERRORS, crc32, open_gzip

# Runs and noise, longer than a piece that is read.
NOISE = np.random.default_rng(0).integers(0, 9, 200_000, np.int16)
VOXELS = NOISE.cumsum().tobytes() + bytes(9000)
WHOLE = gzip.compress(VOXELS, 6)


def edited(at: int, value: int) -> bytes:
    """Return the file with one bit flipped."""
    data = bytearray(WHOLE)
    data[at] ^= value
    return bytes(data)


FILES = {
    "whole": WHOLE,
    "stored": gzip.compress(VOXELS, 0),
    "empty": gzip.compress(b""),
    "two members": WHOLE + gzip.compress(b"more"),
    "followed by zeros": WHOLE + bytes(512),
    "with a name": WHOLE[:3] + b"\x08" + WHOLE[4:10] + b"scan.nii\0" + WHOLE[10:],
    "followed by something": WHOLE + b"something else",
    "no gzip": b"something else",
    "cut off in the header": WHOLE[:7],
    "cut off in the data": WHOLE[: len(WHOLE) // 2],
    "cut off in the checksum": WHOLE[:-6],
    "another checksum": edited(-7, 1),
    "another length": edited(-2, 1),
    "another byte": edited(len(WHOLE) // 3, 64),
    "another method": edited(2, 1),
}
BAD = [*FILES][6:]


def outcome(stream: Callable[[], io.BufferedIOBase]) -> object:
    """Return what is read up to the end, or the kind of error."""
    try:
        with stream() as opened:
            pieces = []
            while piece := opened.read(2**16):
                pieces.append(piece)
            return b"".join(pieces)
    except EOFError:
        return "truncated"
    except GZIP_ERRORS:
        return "damaged"


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_read_or_refused_as_by_python(name: str) -> None:
    data = FILES[name]
    expected = outcome(lambda: gzip.GzipFile(fileobj=io.BytesIO(data)))
    assert outcome(lambda: open_gzip(io.BytesIO(data))) == expected
    assert (expected in ("truncated", "damaged")) == (name in BAD)


def test_checksums_are_those_of_zlib() -> None:
    for size in (0, 1, 7, 64, 5000, len(VOXELS)):
        assert crc32(VOXELS[:size]) == zlib.crc32(VOXELS[:size])
    assert crc32(np.arange(1000)) == zlib.crc32(np.arange(1000))
