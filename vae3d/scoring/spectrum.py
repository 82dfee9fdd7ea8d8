"""`spectra`: power of a scan and its reconstruction by frequency, and their correlation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.runtime.threads import lanes, map_concurrently

BLOCK = 64
"""Voxels of a block along each axis, or all that the image has."""
TAPER = 16
"""Voxels over which the window falls to 0 at both ends of a block, and by which blocks overlap."""
SHELLS = 32
"""Shells from frequency 0 to the Nyquist frequency."""
NYQUIST = 0.5
"""The highest frequency of a grid along an axis, in cycles per voxel."""
MIN_POWER = 1e-12
"""Variance of a shell on [-1, 1] up to which a scan holds nothing in it but float32 rounding."""
MAX_PARALLEL_ROWS = 4
"""Rows of blocks that are transformed at the same time, at most: each takes some 10 MiB."""


@dataclass(frozen=True)
class Spectrum:
    """A scan and its reconstruction in shells of spatial frequency.

    Shell i holds the frequencies above i * `width` up to (i + 1) * `width`, in cycles per voxel or
    per mm. `scan` and `reconstruction` are variances on [-1, 1], and `cross` the covariance of
    the two, the real part of their cross spectrum.
    """

    width: float
    scan: tuple[float, ...]
    reconstruction: tuple[float, ...]
    cross: tuple[float, ...]

    @cached_property
    def frequencies(self) -> list[float]:
        """The centres of the shells."""
        return [(shell + 0.5) * self.width for shell in range(len(self.scan))]

    @cached_property
    def power_kept(self) -> list[float]:
        """The power of the reconstruction over that of the scan, in each shell.

        NaN where the scan holds nothing.
        """
        pairs = zip(self.scan, self.reconstruction, strict=True)
        return [own / scan if scan > MIN_POWER else math.nan for scan, own in pairs]

    @cached_property
    def correlation(self) -> list[float]:
        """The Fourier shell correlation: 1 in a copy, 0 for noise; NaN where the scan is empty.

        Harauz and van Heel 1986; van Heel and Schatz 2005 (10.1016/j.jsb.2005.05.009), equation
        2, of the sums over all blocks.
        """
        values = []
        for scan, own, cross in zip(self.scan, self.reconstruction, self.cross, strict=True):
            norm = math.sqrt(scan * own)
            value = cross / norm if norm else 0.0
            # Sums are rounded, also those of a copy.
            values.append(min(max(value, -1.0), 1.0) if scan > MIN_POWER else math.nan)
        return values

    @property
    def mean_correlation(self) -> float:
        """The mean of the correlation over the shells; NaN if the scan holds nothing."""
        known = [value for value in self.correlation if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def kept_between(self, low: float, high: float) -> float:
        """Return the power kept between two frequencies, NaN if the scan has none there."""
        inside = [low < centre < high for centre in self.frequencies]
        scan, own = (
            sum(value for value, is_in in zip(values, inside, strict=True) if is_in)
            for values in (self.scan, self.reconstruction)
        )
        return own / scan if scan > MIN_POWER else math.nan

    def correlated_up_to(self, threshold: float) -> float:
        """Return the frequency at which the correlation first falls below a threshold.

        Between the centres of shells it is linear, at frequency 0 it is 1, and where it never
        falls below, the last frequency of the last shell is returned. NaN if the scan holds
        nothing.
        """
        last, before = 0.0, 1.0
        known = [pair for pair in zip(self.frequencies, self.correlation, strict=True)
                 if not math.isnan(pair[1])]  # fmt: skip
        for frequency, value in known:
            if value < threshold:
                share = (before - threshold) / (before - value)
                return last + share * (frequency - last)
            last, before = frequency, value
        return len(self.scan) * self.width if known else math.nan


def spectra(image: Tensor, other: Tensor, spacing: Sequence[float]) -> tuple[Spectrum, Spectrum]:
    """Return the spectra of images (C, *spatial) in [-1, 1] over cycles per voxel and per mm.

    Both are means over blocks of BLOCK voxels a side that overlap by TAPER and together contain
    every voxel (Welch 1967, 10.1109/TAU.1967.1161901), so that memory does not grow with the
    image, and all images have the same frequencies. A window of half a cosine at both ends of a
    block (Tukey's) prevents the jump between opposite ends, which the transform takes for
    neighbours, from counting as fine detail. The mean of each block is removed: the window would
    spread it over the coarse shells, and brightness is not sharpness.

    A frequency is the length of the vector of frequencies along the axes: up to NYQUIST per voxel,
    and per mm up to the Nyquist frequency of the finest axis of the `spacing` in mm. Beyond that
    of a coarser axis, shells per mm hold the directions that the grid can represent.
    """
    shape = tuple(image.shape[1:])
    sides = tuple(min(BLOCK, n) for n in shape)
    window = _window(sides, image.device)
    starts = [block_starts(n) for n in shape]
    rows = [[(first, *others) for others in product(*starts[1:])] for first in starts[0]]
    count = lanes(MAX_PARALLEL_ROWS) if image.is_cpu else 1
    sums = torch.zeros((), dtype=torch.float64)
    for row in map_concurrently(partial(_row_sums, image, other, window), rows, count):
        sums = sums + row
    blocks = math.prod(map(len, starts))
    # By Parseval's theorem the shells then add up to variances, weighted by the window.
    scale = blocks * math.prod(sides) * float(window.double().square().sum()) * len(image)
    powers = (sums / scale).numpy()
    finest = min(spacing)
    return (
        _binned(powers, sides, (1.0,) * len(sides), NYQUIST / SHELLS),
        _binned(powers, sides, tuple(spacing), NYQUIST / finest / SHELLS),
    )


def block_starts(length: int) -> list[int]:
    """Return where blocks begin along an axis: evenly, overlapping by TAPER voxels or more."""
    room = length - BLOCK
    if room <= 0:
        return [0]
    steps = math.ceil(room / (BLOCK - TAPER))
    return [room * step // steps for step in range(steps + 1)]


def _window(sides: Sequence[int], device: torch.device) -> Tensor:
    """Return the window (*sides) of a block: 1 inside, half a cosine at both ends of each axis."""
    window = torch.ones((), device=device)
    for side in sides:
        width = min(TAPER, side // 4)
        taper = (1 - torch.cos(math.pi * (torch.arange(width) + 0.5) / max(width, 1))) / 2
        axis = torch.cat([taper, torch.ones(side - 2 * width), taper.flip(0)])
        window = window[..., None] * axis.to(device)
    return window


def _row_sums(
    image: Tensor, other: Tensor, window: Tensor, corners: Sequence[tuple[int, ...]]
) -> Tensor:
    """Return the sums over blocks (3, *half spectrum), float64 on the CPU.

    They are the power of the image, that of the other, and the real part of their product.
    """
    axes = tuple(range(1, image.dim()))
    total = window.sum()
    sums: list[Tensor] = []
    for corner in corners:
        parts = []
        for whole in (image, other):
            block = whole
            for axis, (start, side) in enumerate(zip(corner, window.shape, strict=True), start=1):
                block = block.narrow(axis, start, side)
            windowed = block.float().contiguous() * window
            # The window's own share of the mean, so that frequency 0 is exactly empty.
            windowed -= window * (windowed.sum(axes, keepdim=True) / total)
            # Real and imaginary parts next to each other, added up when all blocks are.
            parts.append(torch.view_as_real(torch.fft.rfftn(windowed, dim=axes)))
        sums = sums or [torch.zeros_like(parts[0]) for _ in range(3)]
        for total_of, (a, b) in zip(sums, ((0, 0), (1, 1), (0, 1)), strict=True):
            total_of.addcmul_(parts[a], parts[b])
    return torch.stack([part.double().sum(-1).sum(0).cpu() for part in sums])


def _binned(
    powers: NDArray[np.float64], sides: Sequence[int], spacing: Sequence[float], width: float
) -> Spectrum:
    """Return the spectrum of `powers` (3, *half spectrum), summed in shells of this width."""
    squared = np.zeros(())
    for number, (side, step) in enumerate(zip(sides, spacing, strict=True)):
        is_last = number == len(sides) - 1
        axis = (np.fft.rfftfreq if is_last else np.fft.fftfreq)(side, step)
        squared = squared[..., None] + np.square(axis)
    # The tolerance keeps a frequency on the edge of a shell in it, however it was rounded.
    shells = np.ceil(np.sqrt(squared) / width - 1e-9).astype(np.int64)
    shells = np.minimum(shells, SHELLS + 1)
    # The other half of the spectrum is the mirror image; frequency 0 and Nyquist are their own.
    mirrored = np.full(sides[-1] // 2 + 1, 2.0)
    mirrored[0] = 1.0
    if sides[-1] % 2 == 0:
        mirrored[-1] = 1.0
    sums = [
        np.bincount(shells.ravel(), (power * mirrored).ravel(), SHELLS + 2)[1 : SHELLS + 1]
        for power in powers
    ]
    return Spectrum(width, *(tuple(values.tolist()) for values in sums))
