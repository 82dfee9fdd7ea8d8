"""Damage to images is noticed wherever their format has a checksum or an end."""

import gzip
import io
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume

# Noise of few values: several chunks of pixels, which decoders read in pieces.
PIXELS = np.random.default_rng(0).integers(0, 40, (420, 400)).astype(np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Name, start and end of each chunk."""
    found, at = [], 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], at, end))
        at = end
    return found


def refused(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(VolumeError) as caught:
        read_volume(path)
    return str(caught.value)


def test_every_chunk_of_a_png_is_verified(tmp_path: Path) -> None:
    data = encoded("PNG", pnginfo=None, dpi=(72, 72))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    assert (read_volume(path).data[0].numpy() == PIXELS).all()
    assert len([name for name, *_ in chunks(data) if name == b"IDAT"]) > 1
    for name, _, end in chunks(data):
        # The CRC alone is wrong: a decoder that does not look at it reads the right pixels.
        wrong = bytearray(data)
        wrong[end - 1] ^= 1
        assert "is damaged" in refused(path, bytes(wrong)), name


def test_a_png_without_its_end_is_refused(tmp_path: Path) -> None:
    data = encoded("PNG")
    *_, (_, last, _), (name, start, _) = chunks(data)
    assert name == b"IEND"
    assert "truncated" in refused(tmp_path / "a.png", data[:start])
    assert "truncated" in refused(tmp_path / "a.png", data[:-1])
    assert "a.png" in refused(tmp_path / "a.png", data[: last + 20])


def test_a_chunk_of_pixels_that_was_replaced_is_refused(tmp_path: Path) -> None:
    data = encoded("PNG")
    _, start, end = next(chunk for chunk in chunks(data) if chunk[0] == b"IDAT")
    wrong = data[: start + 8] + bytes(end - start - 12) + data[end - 4 :]
    assert "a.png" in refused(tmp_path / "a.png", wrong)


def test_what_follows_the_end_of_a_png_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded("PNG") + b"note of another program")
    assert (read_volume(path).data[0].numpy() == PIXELS).all()


@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_or_has_all_its_pixels(
    tmp_path: Path, progressive: bool
) -> None:
    data = encoded("JPEG", progressive=progressive)
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    whole = read_volume(path).data
    for missing in (*range(1, 40), 100, 1000, len(data) // 2, len(data) - 700):
        path.write_bytes(data[:-missing])
        try:
            assert (read_volume(path).data == whole).all(), missing
        except VolumeError:
            continue
        # Only the end marker is missing, which holds no pixels.
        assert missing <= 2


def test_the_checksum_of_deflated_strips_is_verified(tmp_path: Path) -> None:
    data = encoded("TIFF", compression="tiff_adobe_deflate")
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    assert (read_volume(path).data[0].numpy() == PIXELS).all()
    with Image.open(path) as image:
        offsets, counts = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    for offset, count in zip(offsets, counts, strict=True):
        strip = data[offset : offset + count]
        assert zlib.decompress(strip)
        for place in (offset + count - 1, offset + count // 2):
            wrong = bytearray(data)
            wrong[place] ^= 1
            assert "a.tif" in refused(path, bytes(wrong))


def test_every_member_of_a_gzip_file_is_verified(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 99, (9, 8, 7)).astype(np.int16)
    raw = nibabel.Nifti1Image(voxels, np.eye(4)).to_bytes()
    parts = [gzip.compress(part) for part in (raw[:400], raw[400:])]
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"".join(parts))
    assert (read_volume(path).data[0].numpy() == voxels.transpose(2, 1, 0)).all()
    for number in range(2):
        wrong = [*map(bytearray, parts)]
        wrong[number][-6] ^= 1  # the CRC of this member
        assert "gzip" in refused(path, b"".join(wrong))
    assert "truncated" in refused(path, parts[0])
    assert "gzip" in refused(path, b"".join(parts) + b"garbage")
