"""The arrays of a store: compressed in blocks, so that a patch can be read on its own."""

from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.runtime.files import atomic_write
from vae3d.store.foreground import SIDE, ForegroundMap

CODECS: dict[str, dict[str, Any] | None] = {
    "lz4": {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]},
    "zstd": {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]},
    "none": None,
}
"""Compression of the voxels: lz4 is fast, zstd a sixth smaller at half the speed.

The byte shuffle groups the high and the low bytes of the voxels, which makes them compress better.
"""
CHUNK, BLOCK = 64, 16
"""Voxels along each axis of a chunk, which is stored as one, and of a block, which is
decompressed as one."""
_MAP = "foreground"


def array_suffix(codec: str) -> str:
    """Return the suffix of the files of arrays."""
    return ".npy" if CODECS[codec] is None else ".b2nd"


def write_array(path: Path, data: NDArray[Any], codec: str) -> None:
    """Write an image (C, *shape) and its foreground map as one file, whole or not at all."""
    maxima = ForegroundMap.of(data[0]).maxima
    data = np.ascontiguousarray(data)
    settings = CODECS[codec]
    with atomic_write(path) as temporary:
        if settings is None:
            with temporary.open("wb") as file:
                np.save(file, data, allow_pickle=False)
                np.save(file, maxima, allow_pickle=False)
            return
        chunks = (1, *(min(CHUNK, n) for n in data.shape[1:]))
        array = blosc2.asarray(
            data,
            chunks=chunks,
            blocks=tuple(min(BLOCK, n) for n in chunks),
            # One thread: cases are compressed in parallel, one in each thread of the preparation.
            cparams=blosc2.CParams(**settings, typesize=data.itemsize, nthreads=1),
            urlpath=str(temporary),
            mode="w",
        )
        array.schunk.vlmeta[_MAP] = maxima.tobytes()


def open_array(path: Path) -> tuple[Any, NDArray[Any]]:
    """Return an image (C, *shape), which reads its voxels when sliced, and its foreground map.

    Raises:
        VolumeError: missing, or not a file of `write_array`.
    """
    try:
        if path.suffix == ".npy":
            voxels = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                file.seek(voxels.offset + voxels.nbytes)
                return voxels, np.load(file, allow_pickle=False)
        # One thread: a patch has few blocks, and patches are read in parallel by loader processes.
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        if not isinstance(array, blosc2.NDArray):
            raise ValueError("it holds no array")
        maxima = np.frombuffer(array.schunk.vlmeta[_MAP], array.dtype)
        return array, maxima.reshape([-(-n // SIDE) for n in array.shape[1:]])
    except (RuntimeError, ValueError, OSError, KeyError, EOFError) as error:
        raise VolumeError(path, f"cannot be read ({error}); prepare the store again") from error
