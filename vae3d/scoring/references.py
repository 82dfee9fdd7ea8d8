"""What a reconstruction is held against: no VAE at all, and simpler ways to keep few numbers."""

import io
import math
from typing import Any

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

BYTES_A_NUMBER = 2
"""A latent kept as float16."""


def downsampled(image: Tensor, numbers: int) -> Tensor:
    """The image (C, *spatial) averaged down to at most so many numbers, and linearly back up."""
    shape = image.shape[1:]
    share = (numbers / image.numel()) ** (1 / len(shape))
    small = [max(1, math.floor(n * share + 1e-9)) for n in shape]
    pool: Any = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[len(shape)]
    return resample_to_shape(pool(image[None], small)[0], tuple(shape))


def jpeg(image: Tensor, numbers: int) -> Tensor:
    """The image (C, *spatial) in [-1, 1] as JPEG slices of 8 bits, within the latents' bytes.

    The quality, one for all slices, is the best whose bytes are no more than those of so many
    numbers in float16; 1 where even that takes more.
    """
    planes = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    slices = planes.reshape(-1, *image.shape[-2:]).numpy()
    least, most = 1, 95
    while least < most:
        quality = (least + most + 1) // 2
        if sum(len(_encoded(s, quality)) for s in slices) <= numbers * BYTES_A_NUMBER:
            least = quality
        else:
            most = quality - 1
    decoded = [np.asarray(Image.open(io.BytesIO(_encoded(s, least)))) for s in slices]
    return torch.from_numpy(np.stack(decoded)).reshape(image.shape).float() / 127.5 - 1


def _encoded(plane: NDArray[np.uint8], quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def untouched(case: Case, values: Tensor) -> Tensor:
    """The scan (C, *spatial) as it is on disk: on its own grid, and not clipped.

    That is what the case's `values` are, unless it was resampled.

    Raises:
        VolumeError: it was resampled, and its file is not there any more, or has changed.
    """
    source = case.geometry
    if source is None or sorted(source.shape) == sorted(values.shape[1:]):
        return values
    found = read_volume(source.path)
    if sorted(found.shape) != sorted(source.shape) or len(found.data) != len(values):
        raise VolumeError(source.path, "is not the scan any more that was prepared")
    return found.data


def on_grid_of(values: Tensor, scan: Tensor) -> Tensor:
    """Values (C, *spatial) over the field of view of a scan (C, *its own), on the scan's grid."""
    if values.shape[1:] == scan.shape[1:]:
        return values
    return resample_to_shape(values, tuple(scan.shape[1:]))
