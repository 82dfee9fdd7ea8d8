"""The arrays of a store: compressed in blocks, so that a patch can be read on its own.

Each chunk has a checksum, which is verified when a process first reads from the chunk.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.files.atomic import atomic_write
from vae3d.files.gzipped import crc32
from vae3d.files.links import pinned
from vae3d.files.npy import open_npy, read_npy
from vae3d.files.reading import check_kind, open_regular, reason_of
from vae3d.store.foreground import SIDE, ForegroundMap
from vae3d.system.maps import report_no_maps
from vae3d.values.naming import case_file

CODECS: dict[str, dict[str, Any] | None] = {
    "lz4": {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]},
    "lz4_fast": {"codec": blosc2.Codec.LZ4, "clevel": 9, "filters": [blosc2.Filter.BITSHUFFLE]},
    "zstd": {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]},
    "none": None,
}
"""Compression of the voxels, in the order of their speed when they are written or read.

A shuffle groups the bytes or the bits of equal weight, which makes voxels compress better. Not
here: blosc2's filter DELTA, since a part of an array that was written with it is read wrongly.
"""
CHUNK, BLOCK = 64, 16
"""Voxels along each axis of a chunk, which is stored as one, and of a block, which is
decompressed as one."""
MAX_VOXELS = 2**33
"""Most voxels of an image; readers of scans take files of up to 8 GiB."""
_MAP, _SUMS = "foreground", "checksums"
_SUM_BYTES = 4

Box = tuple[slice, ...]


class StoredArray:
    """An image (C, *shape) on disk that is verified and read when it is sliced.

    `stored` returns the bytes of a chunk as they are on disk. `sums` has the checksum of each
    chunk, on their grid; without it (files of earlier versions) nothing is verified. `verified` is
    True for the chunks that were. Whoever opens a file again may pass it on: then each chunk
    is verified once in a process.
    """

    def __init__(
        self,
        array: Any,
        stored: Callable[[int, Box], bytes],
        sums: NDArray[np.uint32] | None,
        verified: NDArray[np.bool_] | None,
    ) -> None:
        self._array, self._stored, self._sums = array, stored, sums
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self._chunk = chunk_of(self.shape)
        grid = grid_of(self.shape)
        self.verified = np.full(grid, sums is None) if verified is None else verified

    def __getitem__(self, box: Box) -> NDArray[Any]:
        """Return the voxels in a box.

        Raises:
            ValueError: a checksum is wrong.
        """
        sides = [part.indices(n)[:2] for part, n in zip(box, self.shape, strict=True)]
        touched = tuple(
            slice(start // c, -(-stop // c))
            for (start, stop), c in zip(sides, self._chunk, strict=True)
        )
        if not self.verified[touched].all():
            self._verify(touched)
        return np.asarray(self._array[box])

    def _verify(self, touched: Box) -> None:
        assert self._sums is not None
        numbers = np.arange(self._sums.size).reshape(self._sums.shape)[touched]
        for number in numbers.ravel().tolist():
            at = np.unravel_index(number, self._sums.shape)
            if not self.verified[at]:
                inside = chunk_box(at, self._chunk)
                if crc32(self._stored(number, inside)) != self._sums[at]:
                    raise ValueError("a checksum is wrong")
                self.verified[at] = True


def chunk_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the size of a chunk of an image (C, *shape)."""
    return (1, *(min(CHUNK, n) for n in shape[1:]))


def layout(shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the sizes of a chunk and of a block of an image (C, *shape)."""
    chunk = chunk_of(shape)
    return chunk, tuple(min(BLOCK, n) for n in chunk)


def grid_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of chunks of an image (C, *shape) along each axis."""
    return tuple(-(-n // c) for n, c in zip(shape, chunk_of(shape), strict=True))


def chunk_box(at: Iterable[Any], chunk: tuple[int, ...]) -> Box:
    """Return the box of the chunk at a place of the grid."""
    return tuple(slice(int(i) * c, (int(i) + 1) * c) for i, c in zip(at, chunk, strict=True))


def array_file(case_id: str, codec: str) -> str:
    """Return the path of a case's array, relative to the store."""
    return f"cases/{case_file(case_id)}{array_suffix(codec)}"


def check_file(case_id: str, file: str | None) -> None:
    """Raise a ValueError if a record names another file than that of its case.

    Whoever may write a catalog then cannot make a command read or delete something else.
    """
    own = f"cases/{case_file(case_id)}"
    if file is not None and file not in {f"{own}{array_suffix(codec)}" for codec in CODECS}:
        raise ValueError(f"{file!a:.80} is not the file of {case_id!a:.80}")


def array_suffix(codec: str) -> str:
    """Return the suffix of the files of arrays."""
    return ".npy" if CODECS[codec] is None else ".b2nd"


def write_array(path: Path, data: NDArray[Any], codec: str) -> int:
    """Write an image (C, *shape) and its foreground map as one file, whole or not at all.

    Returns the sum of its checksums, which differs between arrays of this shape.
    """
    maxima = ForegroundMap.of(data[0]).maxima
    data = np.ascontiguousarray(data)
    settings = CODECS[codec]
    with atomic_write(path) as temporary:
        if settings is None:
            places = itertools.product(*map(range, grid_of(data.shape)))
            boxes = (chunk_box(at, chunk_of(data.shape)) for at in places)
            sums = [crc32(data[box].tobytes()) for box in boxes]
            table = _with_own(sums, maxima)
            with temporary.open("wb") as file:
                for part in (data, maxima, table):
                    np.save(file, part, allow_pickle=False)
            return int(table[-1])
        chunks, blocks = layout(data.shape)
        array = blosc2.asarray(
            data,
            chunks=chunks,
            blocks=blocks,
            # One thread: cases are compressed in parallel, one in each thread of the preparation.
            cparams=blosc2.CParams(**settings, typesize=data.itemsize, nthreads=1),
            # Threads are written to the file, which would depend on the cores of the machine.
            dparams=blosc2.DParams(nthreads=1),
            urlpath=str(temporary),
            mode="w",
        )
        sums = [crc32(array.schunk.get_chunk(i)) for i in range(array.schunk.nchunks)]
        array.schunk.vlmeta[_MAP] = maxima.tobytes()
        table = _with_own(sums, maxima)
        array.schunk.vlmeta[_SUMS] = table.tobytes()
    return int(table[-1])


def _with_own(sums: list[int], maxima: NDArray[Any]) -> NDArray[np.uint32]:
    """Return checksums of chunks, followed by that of the foreground map and their own."""
    values = np.array([*sums, crc32(maxima.tobytes())], "<u4")
    return np.append(values, np.uint32(crc32(values.tobytes())))


def _checked_sums(
    values: NDArray[np.uint32] | None,
    shape: tuple[int, ...],
    maxima: NDArray[Any],
    own: int | None,
) -> NDArray[np.uint32] | None:
    """Return the checksums of chunks on their grid; `own` is the sum of them, if it is known."""
    if values is None:
        if own is not None:
            raise ValueError("its checksums are missing")
        return None
    sums = values[:-2].tolist()
    if not np.array_equal(values, _with_own(sums, maxima)):
        raise ValueError("a checksum is wrong")
    if own not in (None, int(values[-1])):
        raise ValueError("it is the array of another scan")
    return np.array(sums, np.uint32).reshape(grid_of(shape))


def _cells(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the foreground map of an image (C, *shape).

    Raises:
        ValueError: no scan has this shape.
    """
    if len(shape) not in (3, 4) or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        raise ValueError(f"its shape is {shape}, which no scan has")
    return tuple(-(-n // SIDE) for n in shape[1:])


def _open_blosc2(path: Path) -> Any:
    check_kind(path)
    # One thread: a patch has few blocks, and patches are read in parallel by loader processes.
    settings: dict[str, Any] = {"mode": "r", "dparams": blosc2.DParams(nthreads=1)}
    try:
        return blosc2.open(str(path), mmap_mode="r", **settings)
    except RuntimeError:
        # It does not say why: the file is damaged, or cannot be mapped. Read as a whole, as blosc2
        # would open the path again for each chunk, when it may be that of another file.
        with open_regular(path) as file:
            array = blosc2.ndarray_from_cframe(file.read(), copy=True)
    report_no_maps(path)
    return array


def open_array(
    path: Path,
    verified: NDArray[np.bool_] | None = None,
    own: int | None = None,
    folder: Path | None = None,
) -> tuple[StoredArray, NDArray[Any]]:
    """Return an image (C, *shape), which reads its voxels when sliced, and its foreground map.

    `verified` has the chunks that need not be verified: that of an array that was open before.
    `own` is what `write_array` returned, if it is known. No link leads from `folder` to it.

    Raises:
        VolumeError: missing, not a file of `write_array`, or with a wrong checksum.
    """
    try:
        with pinned(folder or path.parent, path) as place:
            return _open(place, path.suffix == ".npy", verified, own)
    # A damaged header surfaces as any exception: it is parsed by Python's own parser, too.
    except Exception as error:
        raise damaged(path, reason_of(error)) from error


def _open(
    path: Path, is_npy: bool, verified: NDArray[np.bool_] | None, own: int | None
) -> tuple[StoredArray, NDArray[Any]]:
    if is_npy:
        voxels, file = open_npy(path)
        with file:
            cells = _cells(voxels.shape)
            maxima = read_npy(file, voxels.itemsize * math.prod(cells)).reshape(cells)
            size = _SUM_BYTES * (math.prod(grid_of(voxels.shape)) + 2)
            written = read_npy(file, size) if file.peek(1) else None
        sums = _checked_sums(written, voxels.shape, maxima, own)
        return StoredArray(voxels, lambda _, box: voxels[box].tobytes(), sums, verified), maxima
    array = _open_blosc2(path)
    if not isinstance(array, blosc2.NDArray):
        raise ValueError("it holds no array")
    schunk, cells = array.schunk, _cells(array.shape)
    maxima = np.frombuffer(schunk.vlmeta[_MAP], array.dtype)
    known = _SUMS in schunk.vlmeta
    if known and (array.chunks, array.blocks) != layout(array.shape):
        raise ValueError("its blocks have another size")
    written = np.frombuffer(schunk.vlmeta[_SUMS], "<u4") if known else None
    sums = _checked_sums(written, array.shape, maxima, own)
    maxima = maxima.reshape(cells)
    return StoredArray(array, lambda i, _: schunk.get_chunk(i), sums, verified), maxima


def damaged(path: Path, reason: str) -> VolumeError:
    """Return the error for an array that cannot be used, with what mends it."""
    return VolumeError(
        path, f"is damaged ({reason}); vae3d prepare with verify=true mends the store"
    )
