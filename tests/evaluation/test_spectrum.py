"""Power and shell correlation by frequency against a slow reference, and their laws."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.runtime.threads import using_threads
from vae3d.scoring import spectrum as measuring
from vae3d.scoring.sharpness import BANDS
from vae3d.scoring.spectrum import BLOCK, SHELLS, TAPER, Spectrum, block_starts, spectra

Floats = NDArray[np.float64]
SHAPES = [(40, 33), (70, 20), (9, 20, 18), (17, 66, 5), (1, 24, 24), (3, 1, 2)]


def pair(*shape: int, noise: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(*shape, generator=generator) * 2 - 1
    return image, image + noise * torch.randn(*shape, generator=generator)


def per_voxel(image: Tensor, other: Tensor) -> Spectrum:
    return spectra(image, other, (1.0,) * (image.dim() - 1))[0]


def slow_taper(side: int) -> Floats:
    """Tukey's window from its definition."""
    width = min(TAPER, side // 4)
    window = np.ones(side)
    for n in range(width):
        window[n] = window[side - 1 - n] = math.sin(math.pi * (n + 0.5) / (2 * width)) ** 2
    return window


def slow_sums(
    image: Floats, other: Floats, spacing: tuple[float, ...], width: float
) -> tuple[Floats, Floats, Floats]:
    """Variances and covariance by shell from whole complex transforms, voxel by voxel of them."""
    shape = image.shape[1:]
    sides = [min(BLOCK, n) for n in shape]
    window = np.ones(())
    for side in sides:
        window = window[..., None] * slow_taper(side)
    sums, blocks = np.zeros((3, SHELLS)), 0
    for corner in product(*map(block_starts, shape)):
        blocks += 1
        cut = tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        for one, two in zip(image, other, strict=True):
            means = [np.average(x[cut], weights=window) for x in (one, two)]
            a, b = (
                np.fft.fftn((x[cut] - m) * window) for x, m in zip((one, two), means, strict=True)
            )
            for index in np.ndindex(*sides):
                signed = [k if k <= n // 2 else k - n for k, n in zip(index, sides, strict=True)]
                parts = [k / (n * s) for k, n, s in zip(signed, sides, spacing, strict=True)]
                shell = math.ceil(math.hypot(*parts) / width - 1e-9) - 1
                if 0 <= shell < SHELLS:
                    cross = a[index] * b[index].conj()
                    sums[:, shell] += abs(a[index]) ** 2, abs(b[index]) ** 2, cross.real
    sums /= blocks * math.prod(sides) * (window**2).sum() * len(image)
    return sums[0], sums[1], sums[2]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_spectra_are_those_of_a_slow_reference(shape: tuple[int, ...]) -> None:
    image, other = pair(2, *shape)
    spacing = (2.5, 0.8, 1.0)[-len(shape) :]
    both = spectra(image, other, spacing)
    widths = (0.5 / SHELLS, 0.5 / min(spacing) / SHELLS)
    for found, size, width in zip(both, ((1.0,) * len(shape), spacing), widths, strict=True):
        assert found.width == pytest.approx(width)
        expected = slow_sums(image.double().numpy(), other.double().numpy(), size, width)
        for one, sums in zip(
            (found.scan, found.reconstruction, found.cross), expected, strict=True
        ):
            np.testing.assert_allclose(one, sums, rtol=1e-4, atol=1e-9)


def test_shells_add_up_to_the_variance() -> None:
    """Within the window, of an image without detail in the corners beyond Nyquist."""
    line = (0.3 * torch.linspace(0, 40, 64).sin() + 0.2).expand(1, 64, 64)
    found = per_voxel(line, line)
    weights = slow_taper(64) ** 2
    expected = np.average((line[0, 0].numpy() - 0.2) ** 2, weights=weights)
    assert sum(found.scan) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("period", [2, 3, 5, 11, 16])
def test_a_wave_is_in_its_shell(period: int) -> None:
    waves = torch.cos(2 * math.pi / period * torch.arange(128.0)).expand(1, 128, 128)
    found = per_voxel(waves, 0.5 * waves)
    shell = int(np.argmax(found.scan))
    assert abs(found.frequencies[shell] - 1 / period) <= found.width
    assert found.power_kept[shell] == pytest.approx(0.25, rel=1e-4)
    band = next(name for name, (low, high) in BANDS.items() if low < 1 / period <= high)
    assert found.kept_between(*BANDS[band]) == pytest.approx(0.25, rel=1e-4)


def test_a_filter_keeps_the_square_of_its_response() -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(1, 200, 200, generator=generator)
    # Of two equal weights along one axis: |cos(pi f)|, isotropic where it is applied to noise.
    blurred = (image + image.roll(1, 2)) / 2
    found = per_voxel(image, blurred)
    for frequency, kept in zip(found.frequencies, found.power_kept, strict=True):
        angles = np.linspace(0, 2 * np.pi, 400)
        expected = np.mean(np.cos(np.pi * frequency * np.cos(angles)) ** 2)
        assert kept == pytest.approx(expected, abs=0.04)


def test_noise_has_power_and_earns_no_correlation() -> None:
    """Against a blurred image: noise restores its power, and its correlation falls."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randn(1, 64, 64, 64, generator=generator) * 0.2
    smooth = torch.nn.functional.avg_pool3d(image[None], 3, 1, 1)[0]
    lost = (image - smooth).std()
    noisy = smooth + lost * torch.randn(image.shape, generator=generator)
    blurred, faked = (per_voxel(image, other) for other in (smooth, noisy))
    fine = BANDS["finest"]
    assert blurred.kept_between(*fine) < 0.05
    assert 0.9 < faked.kept_between(*fine) < 1.1
    assert faked.mean_correlation < blurred.mean_correlation
    alone = per_voxel(image, torch.randn(image.shape, generator=generator))
    assert max(map(abs, alone.correlation[8:])) < 0.1


def test_brightness_and_contrast_leave_the_correlation() -> None:
    image, other = pair(1, 40, 70)
    first, second = per_voxel(image, other), per_voxel(image, 0.5 * other - 0.3)
    assert second.correlation == pytest.approx(first.correlation, abs=1e-4)
    assert second.power_kept == pytest.approx([k / 4 for k in first.power_kept], rel=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_copy_keeps_everything(shape: tuple[int, ...]) -> None:
    image, _ = pair(1, *shape)
    found = per_voxel(image, image.clone())
    assert {value for value in found.power_kept if not math.isnan(value)} <= {1.0}
    known = [value for value in found.correlation if not math.isnan(value)]
    assert known == pytest.approx([1.0] * len(known), abs=1e-9)
    assert all(found.correlated_up_to(t) == 0.5 for t in (0.5, 0.143))


def test_nothing_in_the_scan_has_no_score() -> None:
    even = torch.full((1, 20, 20, 20), 0.3)
    found = per_voxel(even, even + 0.1 * torch.randn(even.shape))
    assert all(map(math.isnan, [*found.power_kept, *found.correlation]))
    assert math.isnan(found.mean_correlation)
    assert math.isnan(found.correlated_up_to(0.5))
    assert math.isnan(found.kept_between(*BANDS["fine"]))


def test_an_empty_reconstruction_keeps_nothing() -> None:
    image, _ = pair(1, 64, 64)
    found = per_voxel(image, torch.zeros_like(image))
    assert {*found.power_kept} == {*found.correlation} == {0.0}
    assert found.correlated_up_to(0.5) < found.width


def test_a_volume_of_one_slice_is_the_image() -> None:
    image, other = pair(1, 70, 33)
    flat, thin = per_voxel(image, other), per_voxel(image[:, None], other[:, None])
    for name in ("scan", "reconstruction", "cross"):
        assert getattr(thin, name) == pytest.approx(getattr(flat, name), rel=1e-4, abs=1e-9)


def test_equal_voxels_have_equal_axes_per_voxel_and_per_mm() -> None:
    image, other = pair(1, 20, 30, 25)
    voxel, mm = spectra(image, other, (2.0, 2.0, 2.0))
    assert mm.width == voxel.width / 2
    assert (mm.scan, mm.cross) == (voxel.scan, voxel.cross)


def test_thick_slices_end_at_their_own_frequency_per_mm() -> None:
    """Waves along the slices of 4 mm are at up to 0.125 cycles per mm, whatever the pixels."""
    waves = torch.tensor([1.0, -1.0]).repeat(16)[:, None, None].expand(1, 32, 32, 32)
    voxel, mm = spectra(waves, waves, (4.0, 0.5, 0.5))
    assert np.argmax(voxel.scan) == SHELLS - 1
    assert mm.frequencies[int(np.argmax(mm.scan))] == pytest.approx(0.125, abs=mm.width)


@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 80, 112, 113, 256, 300, 513])
def test_blocks_cover_an_axis_and_overlap(length: int) -> None:
    starts = block_starts(length)
    assert starts[0] == 0
    assert starts[-1] + min(BLOCK, length) == length
    assert all(b - a <= BLOCK - TAPER for a, b in pairwise(starts))
    shorter = math.ceil(max(0, length - BLOCK) / (BLOCK - TAPER))
    assert len(starts) == shorter + 1


def test_lanes_and_memory_formats_change_nothing() -> None:
    image, other = pair(2, 70, 70, 66)
    last = other[None].contiguous(memory_format=torch.channels_last_3d)[0]
    with using_threads(1):
        alone = per_voxel(image, other)
        assert per_voxel(image, last) == alone
    with using_threads(2):
        assert per_voxel(image, other) == alone


def test_memory_does_not_grow_with_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """No transform is larger than a block."""
    sizes = []
    transform = torch.fft.rfftn

    def spy(block: Tensor, dim: tuple[int, ...]) -> Tensor:
        sizes.append(block.numel())
        return transform(block, dim=dim)

    monkeypatch.setattr(torch.fft, "rfftn", spy)
    monkeypatch.setattr(measuring, "MAX_PARALLEL_ROWS", 1)
    per_voxel(*pair(1, 130, 66, 20))
    assert {*sizes} == {64 * 64 * 20}
    assert len(sizes) == 2 * 3 * 2


def test_the_frequency_of_a_threshold_is_between_shells() -> None:
    ones = (1.0,) * 4
    found = Spectrum(0.125, ones, ones, (0.9, 0.7, 0.4, 0.6))
    centres = found.frequencies
    share = (0.7 - 0.5) / (0.7 - 0.4)
    assert found.correlated_up_to(0.5) == pytest.approx(centres[1] + share * 0.125)
    assert found.correlated_up_to(0.143) == 0.5
    assert found.correlated_up_to(0.95) == pytest.approx(centres[0] / 2)
