"""What every reader does to the voxels of a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import VolumeError

MAX_DECODED_BYTES = 8 * 2**30


def select_channel(
    path: Path, images: NDArray[Any], channel: int | None, kind: str
) -> NDArray[Any]:
    """The image (*spatial) that `channel` names in an array (*spatial, n); one needs no name."""
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
    """`slope * voxels + intercept`: int16 where these are integers that fit, else float32.

    Raises VolumeError if a finite number becomes an infinite one.
    """
    kind = np.int16 if _fit_int16(voxels, slope, intercept) else np.float32
    result = np.empty(voxels.shape, kind)
    wide = np.promote_types(voxels.dtype, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        # One slice after the other, so that the wide numbers in between take little memory.
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
    """Before memory is taken: raises VolumeError where the file cannot hold what it promises."""
    if promised > room:
        raise VolumeError(
            path,
            f"is truncated: its header promises {promised} bytes, the file holds "
            f"at most {room}; copy it again",
        )
    if promised > MAX_DECODED_BYTES:
        gib = promised / 2**30
        raise VolumeError(path, f"holds {gib:.1f} GiB, the limit is 8; crop or split it")
