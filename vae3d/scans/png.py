"""The checksums of a PNG file, which decoders do not all verify."""

import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIECE = 2**20


def check_chunks(file: BinaryIO) -> None:
    """Verify the CRC of every chunk, from the start of the file to its end chunk (IEND).

    Pillow stops reading when it has all pixels: it verifies neither the CRC of the pixels' chunks
    nor that the file has an end. What follows the end chunk belongs to no image.

    Raises:
        ValueError: it is truncated, or a checksum is wrong.
    """
    if file.read(len(SIGNATURE)) != SIGNATURE:
        raise ValueError("it does not begin as a PNG file")
    kind = b""
    while kind != b"IEND":
        head = _read(file, 8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        crc = zlib.crc32(kind)
        while length:
            piece = _read(file, min(length, _PIECE))
            crc = zlib.crc32(piece, crc)
            length -= len(piece)
        if crc != int.from_bytes(_read(file, 4), "big"):
            raise ValueError(f"the checksum of its chunk {kind.decode('latin-1')!a} is wrong")


def _read(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("it is truncated: its end (IEND) is missing")
    return data
