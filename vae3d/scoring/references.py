"""References for the scores: simpler compression baselines, and the scan on disk."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vae3d.data.cases import Case
from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.resample import resample_to_shape

BYTES_PER_VALUE = 2
"""Size of a latent value, stored as float16."""


def downsampled(image: Tensor, numbers: int) -> Tensor:
    """Return the image (C, *spatial) averaged to at most `numbers` values, and back.

    It is linearly interpolated back to its shape.
    """
    shape = image.shape[1:]
    share = (numbers / image.numel()) ** (1 / len(shape))
    small = [max(1, math.floor(n * share + 1e-9)) for n in shape]
    averaged = F.interpolate(image[None], small, mode="area")[0]
    return resample_to_shape(averaged, tuple(shape))


def jpeg(image: Tensor, numbers: int) -> Tensor:
    """Return the image (C, *spatial) in [-1, 1] after JPEG compression of 8-bit slices.

    All slices have the same quality: the highest at which they take at most as many bytes as
    `numbers` values in float16, or 1 if even that takes more.
    """
    planes = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    slices = planes.reshape(-1, *image.shape[-2:]).numpy()
    low, high = 1, 95
    while low < high:
        quality = (low + high + 1) // 2
        if sum(len(_encode_jpeg(s, quality)) for s in slices) <= numbers * BYTES_PER_VALUE:
            low = quality
        else:
            high = quality - 1
    decoded = [np.asarray(Image.open(io.BytesIO(_encode_jpeg(s, low)))) for s in slices]
    return torch.from_numpy(np.stack(decoded)).reshape(image.shape).float() / 127.5 - 1


def _encode_jpeg(plane: NDArray[np.uint8], quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def scan_on_disk(case: Case, values: Tensor) -> Tensor:
    """Return the scan (C, *spatial) as it is on disk: on its own grid, not clipped.

    These are the `values` of the case, unless it was resampled.

    Raises:
        VolumeError: the case was resampled, and its file no longer exists or has changed.
    """
    source = case.geometry
    if source is None or sorted(source.shape) == sorted(values.shape[1:]):
        return values
    volume = read_volume(source.path)
    if sorted(volume.shape) != sorted(source.shape) or len(volume.data) != len(values):
        raise VolumeError(source.path, "has changed since it was prepared")
    return volume.data


def on_grid_of(values: Tensor, scan: Tensor) -> Tensor:
    """Return values (C, *spatial) resampled to the grid of a scan with the same field of view."""
    if values.shape[1:] == scan.shape[1:]:
        return values
    return resample_to_shape(values, tuple(scan.shape[1:]))
