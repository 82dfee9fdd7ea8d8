"""Simpler codecs: what they store fits into the bits, and is the best that does."""

import io
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, features
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.scans.resample import resample_to_shape
from vae3d.scoring import codecs
from vae3d.scoring.codecs import downsampled, jpeg, jpeg2000, jpeg2000_3d
from vae3d.scoring.config import BASELINES
from vae3d.scoring.sheet import REFERENCE_DESCRIPTIONS
from vae3d.scoring.wavelet import analysed, synthesised


def image_of(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return F.avg_pool2d(torch.rand(*shape, generator=generator) * 2 - 1, 3, 1, 1)


def smooth(*shape: int) -> Tensor:
    """Return waves in [-1, 1] (1, *shape) with a little noise."""
    axes = torch.meshgrid(*(torch.linspace(0, 3, n) for n in shape), indexing="ij")
    waves = torch.stack([torch.sin(2 * a + n) for n, a in enumerate(axes)]).mean(0)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return (waves + 0.02 * noise).clamp(-1, 1)[None]


def error(image: Tensor, other: Tensor) -> float:
    return float((image - other).square().mean())


@pytest.mark.parametrize(
    ("shape", "numbers", "small"),
    [
        ((16, 24), 96, (8, 12)), ((16, 24), 95, (7, 11)),
        ((8, 8, 8), 64, (4, 4, 4)), ((4, 4), 0, (1, 1)), ((4, 4), 99, (4, 4)),
    ],
)  # fmt: skip
def test_downsampling_is_an_average_and_back(
    shape: tuple[int, ...], numbers: int, small: tuple[int, ...]
) -> None:
    image = image_of(1, *shape)
    pool = F.adaptive_avg_pool2d if len(shape) == 2 else F.adaptive_avg_pool3d
    expected = resample_to_shape(pool(image, small), shape)  # type: ignore[arg-type]
    coded = downsampled(image, 16 * numbers)
    torch.testing.assert_close(coded.image, expected)
    assert coded.bits == 16 * math.prod(small)


def encoded(plane: Tensor, quality: int) -> bytes:
    stream = io.BytesIO()
    grey = ((plane + 1) * 127.5).round().clamp(0, 255).numpy().astype(np.uint8)
    Image.fromarray(grey).save(stream, "jpeg", quality=quality)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 40, 41, 95])
@pytest.mark.parametrize("spare", [0, 1])
def test_jpeg_is_the_best_that_fits(quality: int, spare: int) -> None:
    """A smaller budget than the lowest quality needs uses that quality."""
    image = image_of(1, 3, 24, 32)
    sizes = [0, *(sum(len(encoded(p, q)) for p in image[0]) for q in range(1, 96))]
    bits = 8 * sizes[quality] + spare
    decoded = jpeg(image, bits)
    best = max(q for q in range(1, 96) if 8 * sizes[q] <= bits)
    planes = [np.asarray(Image.open(io.BytesIO(encoded(p, best)))) for p in image[0]]
    expected = torch.from_numpy(np.stack(planes)).float()[None] / 127.5 - 1
    torch.testing.assert_close(decoded.image, expected)
    assert decoded.bits == 8 * sizes[best]
    coarsest = jpeg(image, 0)
    assert (coarsest.image - image).abs().mean() >= (decoded.image - image).abs().mean()
    assert coarsest.bits == 8 * sizes[1]


@pytest.mark.parametrize("codec", [jpeg2000, jpeg2000_3d])
@pytest.mark.parametrize("rate", [0.25, 1.0, 3.0])
def test_jpeg_2000_fills_the_bits_and_repeats(codec: object, rate: float) -> None:
    assert callable(codec)
    image = smooth(12, 40, 48)
    bits = int(rate * image.numel())
    coded = codec(image, bits)
    assert 0.95 * bits <= coded.bits <= bits, "a small picture has few sizes"
    assert coded.image.shape == image.shape
    assert coded.image.dtype == torch.float32
    assert coded.image.abs().max() <= 1
    again = codec(image, bits)
    assert torch.equal(again.image, coded.image)
    assert again.bits == coded.bits
    assert error(image, coded.image) < error(image, codec(image, bits // 2).image)
    assert error(image, coded.image) < error(image, jpeg(image, bits).image) / 5


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 300), (1, 4, 4), (5, 1, 7), (3, 9, 2)])
def test_jpeg_2000_of_any_size(shape: tuple[int, ...]) -> None:
    """Many bits restore the image to 12 bits; too few take what a file needs at least."""
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for codec in (jpeg2000, jpeg2000_3d):
        coded = codec(image, 10**6)
        assert (coded.image - image).abs().max() < 8 / 4095
        assert coded.bits <= 10**6
        least = codec(image, 0)
        assert least.image.shape == image.shape
        assert least.bits <= coded.bits
    if len(shape) == 2:
        assert torch.equal(jpeg2000(image, 4000).image, jpeg2000_3d(image, 4000).image)


def test_jpeg_2000_keeps_more_steps_than_8_bits_have() -> None:
    image = smooth(8, 32, 32)
    ceiling = (2 / 255) ** 2 / 12
    assert error(image, jpeg2000(image, 12 * image.numel()).image) < ceiling / 50


def test_bits_go_where_they_are_needed() -> None:
    """Empty slices take nothing: the others are as good as if they were alone."""
    image = smooth(4, 64, 64)
    empty = torch.cat([image, torch.full((1, 12, 64, 64), -1.0)], dim=1)
    bits = image.numel()
    alone, together = jpeg2000(image, bits), jpeg2000(empty, bits)
    assert error(image, together.image[:, :4]) < 1.3 * error(image, alone.image)
    assert error(empty[:, 5:], together.image[:, 5:]) < 0.02 * error(image, alone.image)


def test_a_large_image_is_stored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(8, 32, 32)
    whole = jpeg2000(image, 2 * image.numel())
    monkeypatch.setattr(codecs, "PART_VOXELS", 3 * 32 * 32)
    parts = jpeg2000(image, 2 * image.numel())
    assert parts.bits <= 2 * image.numel()
    assert not torch.equal(parts.image, whole.image)
    assert error(image, parts.image) < 3 * error(image, whole.image)
    # Pillow refuses large pictures of others, which must not matter here.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert torch.equal(jpeg2000(image, 2 * image.numel()).image, parts.image)


def test_without_openjpeg_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(ConfigError, match="built without OpenJPEG"):
        jpeg2000(smooth(2, 8, 8), 100)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("levels", [0, 1, 2, 5])
def test_a_wavelet_is_restored(length: int, levels: int) -> None:
    values = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(0)).double()
    bands = analysed(values, levels)
    assert bands.shape == values.shape
    torch.testing.assert_close(synthesised(bands, levels), values)


def test_a_wavelet_gathers_what_is_smooth() -> None:
    """Details of a line are 0, and the energy of noise is nearly kept."""
    line = torch.linspace(-1, 1, 32).double()[None, :, None]
    bands = analysed(line, 1)
    assert bands[:, 18:30].abs().max() < 1e-6
    noise = torch.randn(1, 256, 64, generator=torch.Generator().manual_seed(0))
    energy = analysed(noise, 2).square().sum() / noise.square().sum()
    assert energy == pytest.approx(1, abs=0.1)


def test_every_baseline_is_described() -> None:
    assert {*BASELINES} <= {*REFERENCE_DESCRIPTIONS}
