"""Simpler codecs to compare a VAE with: an image is stored in as many bits as its latent."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, features
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from torch import Tensor

from vae3d.autoencoder.protocol import Autoencoder
from vae3d.errors import ConfigError
from vae3d.model.vae import VALUE_BITS
from vae3d.scans.resample import resample_to_shape
from vae3d.scoring.wavelet import analysed, synthesised

LEVELS_PER_UNIT = 2047.5
"""Integers per unit of [-1, 1] that JPEG 2000 stores: 12 bits, an error of -83 dB. More bits take
longer (16 bits: ten times) and change the scores by 0.1 dB."""
MIDDLE = 32768
"""The integer that stands for 0: JPEG 2000 subtracts it from 16-bit values."""
PART_VOXELS = 2**26
"""Voxels in a picture, at most: of these OpenJPEG takes about 1 GiB."""
SLICE_LEVELS = 2
"""Levels of the wavelet along the slices."""
MIN_SHARE = 0.995
"""Share of the bits that is good enough to end the search."""
MAX_TRIES = 8
"""Files that the search makes, at most; of a scan it mostly needs one or two."""


@dataclass(frozen=True)
class Coded:
    """An image (C, *spatial) in [-1, 1] after it was stored, and the `bits` that it took."""

    image: Tensor
    bits: int


def bits_of_latent(model: Autoencoder, size: Sequence[int]) -> int:
    """Return the bits of the latent of an image of this size (*spatial), as it is stored."""
    return math.ceil(model.latent_bits(size))


def downsampled(image: Tensor, bits: int) -> Coded:
    """Average the image (C, *spatial) to at most as many values as fit into `bits`, and back.

    Values take VALUE_BITS bits. They are linearly interpolated back to the image's shape.
    """
    shape, numbers = image.shape[1:], bits // VALUE_BITS
    share = (numbers / image.numel()) ** (1 / len(shape))
    small = [min(n, max(1, math.floor(n * share + 1e-9))) for n in shape]
    averaged = F.interpolate(image[None], small, mode="area")[0]
    return Coded(
        resample_to_shape(averaged, tuple(shape)),
        len(image) * math.prod(small) * VALUE_BITS,
    )


def jpeg(image: Tensor, bits: int) -> Coded:
    """Store 8-bit slices of the image (C, *spatial) in [-1, 1] as JPEG.

    All slices have the same quality: the highest at which they take at most `bits`, or 1 if even
    that takes more.
    """
    planes = ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    slices = planes.reshape(-1, *image.shape[-2:]).numpy()
    low, high = 1, 95
    while low < high:
        quality = (low + high + 1) // 2
        if sum(len(_encode_jpeg(s, quality)) for s in slices) * 8 <= bits:
            low = quality
        else:
            high = quality - 1
    files = [_encode_jpeg(s, low) for s in slices]
    decoded = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    values = torch.from_numpy(decoded).reshape(image.shape).float() / 127.5 - 1
    return Coded(values, 8 * sum(map(len, files)))


def _encode_jpeg(plane: NDArray[np.uint8], quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(plane).save(stream, "jpeg", quality=quality)
    return stream.getvalue()


def jpeg2000(image: Tensor, bits: int) -> Coded:
    """Store the slices of the image (C, *spatial) in [-1, 1] as one JPEG 2000 picture.

    The slices are below each other, every second one upside down, so that no edge appears between
    them. Bits go where they reduce the squared error most, over all slices. They are at most
    `bits`, or as few as a picture can have.

    Raises:
        ConfigError: Pillow was built without OpenJPEG.
    """
    values, used = _stored(image, bits)
    return Coded(values.clamp(-1, 1), used)


def jpeg2000_3d(image: Tensor, bits: int) -> Coded:
    """Store the image (C, *spatial) in [-1, 1] as JPEG 2000 after a wavelet along its slices.

    This is the multiple component transform of JPEG 2000, part 2. An image without slices has
    none.

    Raises:
        ConfigError: Pillow was built without OpenJPEG.
    """
    if image.dim() < 4:
        return jpeg2000(image, bits)
    bands, used = _stored(analysed(image, SLICE_LEVELS), bits)
    return Coded(synthesised(bands, SLICE_LEVELS).clamp(-1, 1), used)


def _stored(values: Tensor, bits: int) -> tuple[Tensor, int]:
    """Return values (..., H, W) after JPEG 2000, and its bits.

    More than PART_VOXELS become several pictures, whose bits are as their voxels.
    """
    if not features.check("jpg_2000"):
        raise ConfigError(
            "evaluation.baselines: this Pillow was built without OpenJPEG, which jpeg2000 needs; "
            "type pip install --force-reinstall pillow, or leave jpeg2000 out"
        )
    planes = values.reshape(-1, *values.shape[-2:])
    count = max(1, PART_VOXELS // planes[0].numel())
    parts, used = [], 0
    for part in torch.split(planes, count):
        file = _smallest_loss(_picture(part), bits * part.numel() // (8 * planes.numel()))
        parts.append(_planes(file, part.shape))
        used += 8 * len(file)
    return torch.cat(parts).reshape(values.shape), used


def _picture(planes: Tensor) -> NDArray[np.uint16]:
    """Return planes (N, H, W) as a picture (N * H, W), every second plane upside down."""
    numbers = (planes * LEVELS_PER_UNIT).round_().add_(MIDDLE).clamp_(0, 2 * MIDDLE - 1)
    turned = numbers.int().numpy().astype(np.uint16)
    turned[1::2] = turned[1::2, ::-1].copy()
    return turned.reshape(-1, turned.shape[-1])


def _planes(file: bytes, shape: Sequence[int]) -> Tensor:
    """Return the planes of this shape that `_picture` and JPEG 2000 made a file of."""
    # Image.open warns of large pictures, which is meant for the files of others.
    turned = np.array(Jpeg2KImageFile(io.BytesIO(file))).reshape(shape)
    turned[1::2] = turned[1::2, ::-1].copy()
    return (torch.from_numpy(turned.astype(np.int32)).float() - MIDDLE) / LEVELS_PER_UNIT


def _smallest_loss(picture: NDArray[np.uint16], limit: int) -> bytes:
    """Return the file of the picture that takes the most of `limit` bytes, or the smallest one.

    OpenJPEG keeps a given ratio to a percent or so, and small pictures have few sizes: the search
    asks for ratios until the file fits well.
    """
    ratio, files = picture.nbytes / max(limit, 1), dict[float, bytes]()
    for attempt in range(MAX_TRIES):
        file = files[ratio] = _encode_jpeg2000(picture, ratio)
        share = len(file) / max(limit, 1)
        # At a ratio of 1 everything is kept.
        if MIN_SHARE <= share <= 1 or (share < 1 and ratio <= 1):
            break
        fitting = [at for at in files if len(files[at]) <= limit]
        others = [at for at in files if len(files[at]) > limit]
        if fitting and others:
            ratio = math.sqrt(min(fitting) * max(others))
        else:
            ratio *= share if fitting else share * 1.002 ** (4**attempt)
    sizes = sorted(files.values(), key=len)
    return next((file for file in reversed(sizes) if len(file) <= limit), sizes[0])


def _encode_jpeg2000(picture: NDArray[np.uint16], ratio: float) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(
        stream,
        "jpeg2000",
        no_jp2=True,
        irreversible=True,
        quality_mode="rates",
        quality_layers=[ratio],
    )
    return stream.getvalue()
