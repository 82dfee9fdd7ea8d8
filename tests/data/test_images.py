"""Laws of images: what is read is what a viewer shows, or it is refused by name."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume, write_volume

ROWS, COLUMNS = np.mgrid[:12, :16]
GRAY = (40 + 9 * ROWS + 5 * COLUMNS).astype(np.uint8)
"""A ramp that no flip and no transposition leaves as it is."""
WIDE = GRAY.astype(np.uint16) * 200
COLOUR = np.stack([GRAY, GRAY[::-1], GRAY], -1)


def read(path: Path, channel: int | None = None) -> np.ndarray:
    return read_volume(path, channel=channel).data[0].numpy()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", [*range(1, 9), 0, 77])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "lzw.tif"])
def test_orientation_tags_are_applied(tmp_path: Path, name: str, orientation: int) -> None:
    path, stored = tmp_path / name, Image.fromarray(GRAY)
    if name == "a.tif":
        tifffile.imwrite(path, GRAY, extratags=[(274, "H", 1, orientation, True)])
    elif name == "lzw.tif":
        # Pillow writes no numbers that are no orientation.
        stored.save(path, exif=_exif(orientation % 9 or 1), compression="tiff_lzw")
    else:
        stored.save(path, exif=_exif(orientation))
    if name.endswith(".jpg"):
        stored = Image.open(path)
        stored.load()
    stored.getexif()[0x0112] = orientation
    if name == "lzw.tif":
        stored.getexif()[0x0112] = orientation % 9 or 1
    shown = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(read(path), shown)
    if 2 <= orientation <= 8:
        assert not np.array_equal(shown, GRAY)


def test_a_turned_image_is_written_as_it_is_shown(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png", exif=_exif(6))
    volume = read_volume(tmp_path / "a.png")
    assert volume.shape == (16, 12)
    write_volume(volume, tmp_path / "b.png")
    assert np.array_equal(read(tmp_path / "b.png"), np.rot90(GRAY, -1))


def _jpeg(image: Image.Image, path: Path) -> None:
    image.save(path, quality=100, subsampling=0)


@pytest.mark.parametrize("black", [False, True])
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_inks_become_gray(tmp_path: Path, suffix: str, black: bool) -> None:
    none = np.zeros_like(GRAY)
    inks = [none] * 3 + [255 - GRAY] if black else [255 - GRAY] * 3 + [none]
    path = tmp_path / f"a{suffix}"
    image = Image.fromarray(np.stack(inks, -1), mode="CMYK")
    _jpeg(image, path) if suffix == ".jpg" else image.save(path)
    assert np.abs(read(path).astype(int) - GRAY).max() <= (2 if suffix == ".jpg" else 0)


def test_coloured_inks_are_named(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(VolumeError, match=r"3 channels.*data\.channel=K"):
        read(tmp_path / "a.jpg")


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_white_is_zero_and_palettes(tmp_path: Path, mode: str, compression: str | None) -> None:
    image = Image.fromarray(np.where(GRAY > 100, 255, 0).astype(np.uint8) if mode == "1" else GRAY)
    shown = np.asarray(image)
    if mode == "1":
        image = image.convert("1", dither=Image.Dither.NONE)
    if mode == "P":
        image = Image.fromarray(255 - GRAY, mode="P")
        image.putpalette([v for n in range(256) for v in [255 - n] * 3])
        tags = {}
    else:
        tags = {262: 0}
    image.save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].photometric == (3 if mode == "P" else 0)
    assert np.array_equal(read(tmp_path / "a.tif"), shown)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), shown)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_of_8_and_16_bits(
    tmp_path: Path, dtype: type[np.unsignedinteger[Any]], compression: str | None
) -> None:
    shown = GRAY if dtype is np.uint8 else WIDE
    stored = np.iinfo(dtype).max - shown
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, photometric="miniswhite", compression=compression)
    assert np.array_equal(read(path), shown)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_white_is_zero_of_other_numbers_is_refused(
    tmp_path: Path, dtype: type[np.generic]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(dtype), photometric="miniswhite")
    with pytest.raises(VolumeError, match=r"whose 0 is white.*convert it"):
        read(tmp_path / "a.tif")


def _png(path: Path, bits: int, colour: int, rows: list[bytes]) -> None:
    """Write a PNG of raw rows."""
    width = len(rows[0]) * 8 // (bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
        )
    )


@pytest.mark.parametrize(("bits", "byte"), [(1, 0b01010101), (2, 0b00011011), (4, 0x0F)])
def test_few_bits_reach_from_black_to_white(tmp_path: Path, bits: int, byte: int) -> None:
    levels = [(byte >> shift) & (2**bits - 1) for shift in range(8 - bits, -1, -bits)]
    shown = np.array([levels] * 3) * 255 // (2**bits - 1)
    _png(tmp_path / "a.png", bits, 0, [bytes([byte])] * 3)
    assert np.array_equal(read(tmp_path / "a.png"), shown)
    _bits_tiff(tmp_path / "a.tif", bits, 1, [bytes([byte])] * 3)
    assert np.array_equal(read(tmp_path / "a.tif"), shown)
    _bits_tiff(tmp_path / "a.tif", bits, 0, [bytes([byte])] * 3)
    assert np.array_equal(read(tmp_path / "a.tif"), 255 - shown)


def _bits_tiff(path: Path, bits: int, photometric: int, rows: list[bytes]) -> None:
    """Write a TIFF of rows of packed bits."""
    body = b"".join(rows)
    width = len(rows[0]) * 8 // bits
    tags = [(256, width), (257, len(rows)), (258, bits), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, len(rows)), (279, len(body))]
    padded = body + bytes(len(body) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    folder = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(padded)) + padded + folder)


def test_16_bits_of_gray_are_kept_and_of_colour_refused(tmp_path: Path) -> None:
    Image.fromarray(WIDE).save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png"), WIDE)
    row = struct.pack(">12H", *range(0, 12000, 1000))
    for colour in (2, 4, 6):
        _png(tmp_path / "b.png", 16, colour, [row] * 2)
        with pytest.raises(VolumeError, match=r"16 bits and colour or alpha.*magick"):
            read(tmp_path / "b.png")


def test_transparent_pixels_are_not_read_as_opaque(tmp_path: Path) -> None:
    see_through = Image.fromarray(GRAY, mode="P")
    see_through.putpalette([v for n in range(256) for v in [n] * 3])
    see_through.save(tmp_path / "p.png", transparency=int(GRAY[0, 0]))
    Image.fromarray(GRAY).save(tmp_path / "l.png", transparency=int(GRAY[0, 0]))
    alpha = Image.fromarray(GRAY).convert("LA")
    alpha.putalpha(Image.fromarray(GRAY))
    alpha.save(tmp_path / "la.png")
    for name in ("p", "l", "la"):
        with pytest.raises(VolumeError, match="channels, one is needed"):
            read(tmp_path / f"{name}.png")
    # A colour key that no pixel has changes nothing.
    Image.fromarray(GRAY).save(tmp_path / "unused.png", transparency=1)
    assert np.array_equal(read(tmp_path / "unused.png"), GRAY)


def _tiff(**options: Any) -> Callable[[np.ndarray, Path], None]:
    return lambda pixels, path: tifffile.imwrite(path, pixels, **options)


def _pillow(**options: Any) -> Callable[[np.ndarray, Path], None]:
    return lambda pixels, path: Image.fromarray(pixels).save(path, **options)


@pytest.mark.parametrize(
    ("pixels", "write"),
    [
        pytest.param(GRAY, _tiff(bigtiff=True), id="BigTIFF"),
        pytest.param(WIDE, _tiff(byteorder=">"), id="big-endian"),
        pytest.param(WIDE, _tiff(tile=(16, 16), compression="zlib"), id="tiles"),
        pytest.param(GRAY / np.float32(7), _tiff(compression="zlib"), id="float"),
        pytest.param(GRAY.astype(np.int16) - 99, _tiff(), id="signed"),
        *(
            pytest.param(pixels, _pillow(compression=name), id=f"{name}-{pixels.dtype}")
            for name in ("tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd")
            for pixels in (GRAY, WIDE, GRAY / np.float32(7))
        ),
    ],
)
def test_tiffs_of_all_sorts(
    tmp_path: Path, pixels: np.ndarray, write: Callable[[np.ndarray, Path], None]
) -> None:
    write(pixels, tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_equal_colours_of_a_tiff_are_gray(tmp_path: Path, planar: str) -> None:
    stacked = np.stack([WIDE] * 3, -1 if planar == "contig" else 0)
    tifffile.imwrite(tmp_path / "a.tif", stacked, photometric="rgb", planarconfig=planar)
    assert np.array_equal(read(tmp_path / "a.tif"), WIDE)


@pytest.mark.parametrize("name", ["group3", "group4", "tiff_ccitt"])
def test_faxes(tmp_path: Path, name: str) -> None:
    image = Image.fromarray(np.where(GRAY > 100, 255, 0).astype(np.uint8))
    image.convert("1", dither=Image.Dither.NONE).save(tmp_path / "a.tif", compression=name)
    assert np.array_equal(read(tmp_path / "a.tif"), np.asarray(image))


def test_alpha_of_a_compressed_tiff(tmp_path: Path) -> None:
    image = Image.fromarray(GRAY).convert("RGBA")
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    assert np.array_equal(read(tmp_path / "a.tif"), GRAY)


def test_jpeg_in_a_tiff(tmp_path: Path) -> None:
    gray = Image.fromarray(GRAY).convert("RGB")
    gray.save(tmp_path / "a.tif", compression="jpeg", quality=100)
    assert np.abs(read(tmp_path / "a.tif").astype(int) - GRAY).max() <= 3


def test_other_spaces_of_colour_are_refused_by_name(tmp_path: Path) -> None:
    for name, number in [("CIELAB", 8), ("MASK", 4), ("YCBCR", 6), ("CFA", 32803), ("5", 12345)]:
        kind = "rgb" if number in (8, 6) else "minisblack"
        stored = COLOUR if kind == "rgb" else GRAY
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, stored, photometric=kind)
        with tifffile.TiffFile(path, mode="r+b") as file:
            file.pages[0].tags["PhotometricInterpretation"].overwrite(number)
        with pytest.raises(VolumeError, match=rf"(?i)stores {name}?.*convert it: magick"):
            read(path)


def test_a_compression_without_its_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GRAY)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(34712)
    with pytest.raises(VolumeError, match=r"JPEG2000.*pip install imagecodecs"):
        read(path)
    # Signed numbers are not among those that Pillow decodes without a loss.
    tifffile.imwrite(path, GRAY.astype(np.int16))
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["Compression"].overwrite(5)
    with pytest.raises(VolumeError, match=r"LZW.*pip install imagecodecs"):
        read(path)


def test_several_images_in_one_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GRAY)
        file.write(GRAY[:6, :8], subfiletype=1)
    assert np.array_equal(read(path), GRAY)
    with tifffile.TiffWriter(path) as file:
        file.write(GRAY)
        file.write(GRAY[:6])
    with pytest.raises(VolumeError, match=r"one image, got 2 of shapes \(12, 16\) and \(6, 16\)"):
        read(path)
