"""The arrays of a store: compressed in blocks, so that a patch is read in a moment."""

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
"""How voxels are compressed: fast, small (a sixth less, at half the speed), or not at all."""
CHUNK, BLOCK = 64, 16
"""Voxels along each axis of what is stored together, and of what is decompressed at once."""
_MAP = "foreground"


def array_suffix(codec: str) -> str:
    """The suffix of an array's file."""
    return ".npy" if CODECS[codec] is None else ".b2nd"


def write_array(path: Path, data: NDArray[Any], codec: str) -> None:
    """Writes an image (C, *shape) and its foreground map as one file, whole or not at all."""
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
            cparams=blosc2.CParams(**settings, typesize=data.itemsize, nthreads=1),
            urlpath=str(temporary),
            mode="w",
        )
        array.schunk.vlmeta[_MAP] = maxima.tobytes()


def open_array(path: Path) -> tuple[Any, NDArray[Any]]:
    """An image (C, *shape) that reads only what is cut out of it, and its foreground map.

    Raises:
        VolumeError: missing, or no such file.
    """
    try:
        if path.suffix == ".npy":
            voxels = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                file.seek(voxels.offset + voxels.nbytes)
                return voxels, np.load(file, allow_pickle=False)
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        if not isinstance(array, blosc2.NDArray):
            raise ValueError("it holds no array")
        maxima = np.frombuffer(array.schunk.vlmeta[_MAP], array.dtype)
        return array, maxima.reshape([-(-n // SIDE) for n in array.shape[1:]])
    except (RuntimeError, ValueError, OSError, KeyError, EOFError) as error:
        raise VolumeError(path, f"cannot be read ({error}); prepare the store anew") from error
