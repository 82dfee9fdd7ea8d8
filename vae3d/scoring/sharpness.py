"""`Sharpness`: how much detail a reconstruction keeps of its scan, and whether it is real."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from vae3d.scoring.spectrum import Spectrum, spectra
from vae3d.scoring.staircase import Steps, staircase, steps_of

BANDS = {
    "coarse": (0.0, 0.125),
    "medium": (0.125, 0.25),
    "fine": (0.25, 0.375),
    "finest": (0.375, 0.5),
}
"""Bands of spatial frequency in cycles per voxel: 0.5 is a pattern that alternates from voxel to
voxel, 0.125 one that repeats every 8 voxels."""
THRESHOLDS = (0.5, 0.143)
"""Shell correlations at which detail ends. 0.5 is the usual threshold against a reference; 0.143
is that of two halves of one measurement (Rosenthal and Henderson 2003)."""
# Reports store these texts, and only equal ones can be compared: do not reword them.
DEFINITIONS = {
    "power": "reconstruction over scan by frequency; tapered blocks of 64, mean removed",
    "fsc": "correlation of the same shells",
    "staircase": "mean jumps at the planes of the grids over the others, over those of the scan",
}
"""The definitions of the scores."""


@dataclass(frozen=True)
class Sharpness:
    """The spectra of a case per voxel and per mm, and the jumps at its network's grids by axis."""

    per_voxel: Spectrum
    per_mm: Spectrum
    steps: Steps

    @property
    def staircase(self) -> float:
        """The jumps at the borders of the worst grid, 1 where no blocks are visible."""
        return staircase(self.steps)

    def power(self, band: str) -> float:
        """Return the power kept in one of BANDS; NaN if the scan holds nothing in it."""
        return self.per_voxel.kept_between(*BANDS[band])


def sharpness(
    image: Tensor, other: Tensor, spacing: Sequence[float], periods: Sequence[Sequence[int]]
) -> Sharpness:
    """Return the sharpness of `other` against `image`, both (C, *spatial) in [-1, 1].

    `spacing` is in mm, and `periods` are those of the network's grids, for each axis.
    """
    return Sharpness(*spectra(image, other, spacing), steps_of(image, other, periods))
