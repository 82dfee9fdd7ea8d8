"""Thousands of damaged scans: each is refused by name, or is whole; none hangs or takes memory."""

import gzip
import io
import itertools
import resource
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.faults.conftest import Hurry, mutated
from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.volume import Volume, checked

MANY = pytest.mark.parametrize(
    "count", [2000, pytest.param(100_000, marks=pytest.mark.faults)], ids=["fast", "nightly"]
)
SEVERAL = pytest.mark.parametrize(
    "count", [200, pytest.param(10_000, marks=pytest.mark.faults)], ids=["fast", "nightly"]
)
VOXELS = np.random.default_rng(0).integers(0, 250, (8, 9, 10))
GRAY = VOXELS[0].astype(np.uint8)


@pytest.fixture(autouse=True)
def _modest() -> Iterator[None]:
    """No test here may take a GiB, whatever a header promises."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


class Trial:
    """Reads damaged files one after the other and counts what comes of them."""

    def __init__(self, folder: Path, hurry: Hurry) -> None:
        self.folder = folder
        self.hurry = hurry
        self.seen: Counter[str] = Counter()

    def __call__(self, suffix: str, content: bytes) -> Volume | None:
        """The volume if the file is usable, None if it is refused; all else is an error."""
        path = self.folder / f"fuzzed{suffix}"
        path.write_bytes(content)
        try:
            with self.hurry(content[:600].hex()):
                volume, _ = checked(read_volume(path), "fail")
        except VolumeError as error:
            refusal = str(error)
        else:
            refusal = ""
        self.seen["refused" if refusal else "loaded"] += 1
        if refusal:
            assert refusal.startswith(f"{path}: ")
            assert "\n" not in refusal
            return None
        assert np.isfinite(volume.affine).all()
        assert np.isfinite(volume.data.numpy()).all()
        return volume


@pytest.fixture
def trial(tmp_path: Path, hurry: Hurry, capfd: pytest.CaptureFixture[str]) -> Iterator[Trial]:
    """A Trial, of which nothing may speak on the terminal."""
    trial = Trial(tmp_path, hurry)
    yield trial
    assert capfd.readouterr() == ("", "")
    assert sum(trial.seen.values()) > 0


def nifti(kind: type[nibabel.Nifti1Image], dtype: str) -> bytes:
    """A whole file."""
    image = kind(VOXELS.astype(dtype), np.diag([1, 2, 3, 1]), dtype=np.dtype(dtype))
    return bytes(image.to_bytes())


@MANY
def test_damaged_headers(trial: Trial, count: int) -> None:
    rng = np.random.default_rng(count)
    kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    whole = [
        (nifti(kind, dtype), kind.header_class.sizeof_hdr + 4)
        for kind, dtype in itertools.product(kinds, ("int16", "float32", "uint8"))
    ]
    for number in range(count):
        content, end = whole[number % len(whole)]
        damaged = mutated(content, end, 30, rng)
        if number % 4 < 2:
            trial(".nii", damaged)
        else:
            trial(".nii.gz", gzip.compress(damaged, 1))
    assert min(trial.seen["loaded"], trial.seen["refused"]) > count / 10


@SEVERAL
def test_no_flipped_bit_of_a_packed_scan_loads_in_silence(trial: Trial, count: int) -> None:
    rng = np.random.default_rng(count)
    for dtype in ("int16", "float32"):
        packed = gzip.compress(nifti(nibabel.Nifti1Image, dtype))
        expected = trial(".nii.gz", packed)
        assert expected is not None
        for place in rng.integers(10, len(packed), count // 2):
            damaged = bytearray(packed)
            damaged[place] ^= 1 << rng.integers(8)
            volume = trial(".nii.gz", damaged)
            assert volume is None or volume.data.equal(expected.data)


@SEVERAL
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".npy", ".png", ".tif"])
def test_no_truncated_file_loads_other_voxels(trial: Trial, suffix: str, count: int) -> None:
    content = WHOLE[suffix][0]()
    expected = trial(suffix, content)
    assert expected is not None
    rng = np.random.default_rng(count)
    for length in rng.integers(1, len(content), count // 5):
        volume = trial(suffix, content[:length])
        # The end of a .png may hold no more than sums.
        assert volume is None or volume.data.equal(expected.data)
        assert volume is None or suffix == ".png", f"{length} of {len(content)} bytes"


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    """What a library writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def png(mode: str) -> bytes:
    """A PNG of a mode of Pillow."""
    return saved(lambda file: Image.fromarray(GRAY).convert(mode).save(file, "PNG"))


def jpeg() -> bytes:
    """A gray JPEG."""
    return saved(lambda file: Image.fromarray(GRAY).save(file, "JPEG"))


def tiff(dtype: str, **options: object) -> bytes:
    """A TIFF as one strip, or as `options` say."""
    return saved(lambda file: tifffile.imwrite(file, GRAY.astype(dtype), **options))


def lzw() -> bytes:
    """A TIFF that libtiff decodes, which speaks on the terminal if nobody stops it."""
    image = Image.fromarray(GRAY)
    return saved(lambda file: image.save(file, "TIFF", compression="tiff_lzw"))


def npy(array: np.ndarray) -> bytes:
    """An array."""
    return saved(lambda file: np.save(file, array))


WHOLE: dict[str, list[Callable[[], bytes]]] = {
    ".nii": [lambda: nifti(nibabel.Nifti1Image, "int16")],
    ".nii.gz": [lambda: gzip.compress(nifti(nibabel.Nifti1Image, "int16"))],
    ".npy": [lambda: npy(GRAY), lambda: npy(VOXELS.astype(np.float32))],
    ".png": [lambda: png("L"), lambda: png("RGB"), lambda: png("P"), lambda: png("I;16")],
    ".jpg": [jpeg],
    ".tif": [
        lambda: tiff("uint8"),
        lambda: tiff("float32", rowsperstrip=2),
        lambda: tiff("uint16", compression="zlib"),
        lambda: tiff("uint8", compression="zlib", tile=(16, 16)),
        lzw,
    ],
}


@SEVERAL
@pytest.mark.parametrize("suffix", [".npy", ".png", ".jpg", ".tif"])
def test_damaged_images(trial: Trial, suffix: str, count: int) -> None:
    rng = np.random.default_rng(count)
    whole = [make() for make in WHOLE[suffix]]
    for number in range(count):
        content = whole[number % len(whole)]
        # In the header, where sizes and types are, and everywhere.
        end = min(len(content), 128) if number % 2 else len(content)
        trial(suffix, mutated(content, end, 3, rng))


LIES = [2**7, 2**12, 2**15 - 1, 2**31 - 1]


def nifti_of(side: int) -> bytes:
    """A NIfTI-2 header, whose sizes have 64 bits, over a few voxels."""
    content = bytearray(nifti(nibabel.Nifti2Image, "float32"))
    struct.pack_into("<3q", content, 24, side, side, side)
    return bytes(content)


def png_of(side: int) -> bytes:
    """A PNG whose header has a right sum and a wrong size."""
    content = bytearray(png("L"))
    struct.pack_into(">2I", content, 16, side, side)
    struct.pack_into(">I", content, 29, zlib.crc32(content[12:29]))
    return bytes(content)


def tiff_of(side: int) -> bytes:
    """A TIFF whose first two tags, width and length, are wrong."""
    content = bytearray(tiff("uint8", compression="zlib", metadata=None))
    (first,) = struct.unpack_from("<I", content, 4)
    for tag in range(2):
        struct.pack_into("<HII", content, first + 4 + 12 * tag, 4, 1, side)
    return bytes(content)


def npy_of(side: int) -> bytes:
    """An array whose header has a wrong shape."""
    shape = f"({side}, {side}, {side})"
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(64)


@pytest.mark.parametrize("side", LIES)
@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".nii", nifti_of),
        (".nii.gz", lambda side: gzip.compress(nifti_of(side))),
        (".png", png_of),
        (".tif", tiff_of),
        (".npy", npy_of),
    ],
    ids=["nii", "nii.gz", "png", "tif", "npy"],
)
def test_lies_about_the_size_are_refused(
    trial: Trial, suffix: str, make: Callable[[int], bytes], side: int
) -> None:
    assert trial(suffix, make(side)) is None
