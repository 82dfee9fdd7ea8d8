"""Steps that all readers share: select a channel, convert the voxels, check their size."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import VolumeError

MAX_DECODED_BYTES = 8 * 2**30
"""Largest decoded size of a file; a larger one is refused before memory is allocated."""


def select_channel(
    path: Path, images: NDArray[Any], channel: int | None, kind: str
) -> NDArray[Any]:
    """Return image (*spatial) number `channel` of an array (*spatial, n); None if n is 1.

    Raises:
        VolumeError: several images and no `channel`, or one out of range.
    """
    count = images.shape[-1]
    if channel is None and count > 1:
        raise VolumeError(
            path,
            f"has shape {images.shape[:-1]} with {count} {kind}, one is needed; "
            f"choose it with data.channel=K, K from 0 to {count - 1}",
        )
    if not 0 <= (channel or 0) < count:
        raise VolumeError(path, f"data.channel must be from 0 to {count - 1}, got {channel}")
    return images[..., channel or 0]


def voxels_to_tensor(
    path: Path, voxels: NDArray[Any], slope: float = 1.0, intercept: float = 0.0
) -> Tensor:
    """Return `slope * voxels + intercept`, as int16 if all are integers that fit, else float32.

    Raises VolumeError if a finite number becomes an infinite one.
    """
    kind = np.int16 if _fit_int16(voxels, slope, intercept) else np.float32
    result = np.empty(voxels.shape, kind)
    if (slope, intercept) == (1, 0) and kind is np.int16:
        np.copyto(result, voxels, casting="unsafe")
        return torch.from_numpy(result)
    if (slope, intercept) == (1, 0) and voxels.dtype == np.float32:
        # The sum with 0 makes a zero of a negative zero, as it does below.
        return torch.from_numpy(np.add(voxels, np.float32(0), out=result))
    wide = np.promote_types(voxels.dtype, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # One slice at a time, so that the float64 intermediates take little memory.
        for target, plane in zip(result, voxels, strict=True):
            target[...] = plane.astype(wide) * slope + intercept
            if kind is np.float32 and (np.isinf(target) & np.isfinite(plane)).any():
                raise VolumeError(path, "has values beyond 3.4e38, the end of float32; rescale it")
    return torch.from_numpy(result)


def _fit_int16(voxels: NDArray[Any], slope: float, intercept: float) -> bool:
    if voxels.dtype.kind not in "iub" or slope % 1 or intercept % 1:
        return False
    ends = [int(v) * int(slope) + int(intercept) for v in (voxels.min(), voxels.max())]
    limits = np.iinfo(np.int16)
    return limits.min <= min(ends) and max(ends) <= limits.max


def check_size(path: Path, promised: int, room: int) -> None:
    """Raise a VolumeError if a header asks for more bytes than its file can hold.

    Call it before memory is allocated: `promised` are the bytes that the header describes, `room`
    the most that the file can hold.
    """
    if promised > room:
        raise VolumeError(
            path,
            f"is truncated: its header promises {promised} bytes, the file holds "
            f"at most {room}; copy it again",
        )
    if promised > MAX_DECODED_BYTES:
        gib = promised / 2**30
        raise VolumeError(path, f"holds {gib:.1f} GiB, the limit is 8; crop or split it")
