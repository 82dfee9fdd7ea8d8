"""`ForegroundMap`: a coarse map of a case's foreground, small enough to keep in memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.patching.region import Region

SIDE = 16
"""Voxels along each axis of a cell of the map."""

Box = Callable[[Region], NDArray[Any]]
"""Reads the voxels of a box (*size) from a case's first channel."""


@dataclass(frozen=True)
class ForegroundMap:
    """The largest value of the first channel in each cell of SIDE voxels per axis."""

    maxima: NDArray[Any]

    @classmethod
    def of(cls, image: NDArray[Any]) -> "ForegroundMap":
        """Return the map of an image (*shape); the last cells of an axis may be smaller."""
        # The first axis by whole planes, of which numpy takes the larger voxels several at a time.
        starts = range(0, len(image), SIDE)
        image = np.stack([image[start : start + SIDE].max(axis=0) for start in starts])
        for axis, length in enumerate(image.shape[1:], start=1):
            image = np.maximum.reduceat(image, np.arange(0, length, SIDE), axis=axis)
        return cls(image)

    def voxel(
        self, threshold: float, shape: tuple[int, ...], box: Box, generator: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """Return a random voxel above the threshold, or None if there is none.

        First a cell with foreground is drawn, then one of its voxels. Cells with little foreground
        are as likely as full ones, so that borders are drawn more often than interiors.
        """
        cells = np.flatnonzero(self.maxima > threshold)
        if not cells.size:
            return None
        chosen = np.unravel_index(int(generator.choice(cells)), self.maxima.shape)
        corner = np.array(chosen) * SIDE
        size = np.minimum(SIDE, np.array(shape) - corner)
        voxels = np.argwhere(box(Region(tuple(corner.tolist()), tuple(size.tolist()))) > threshold)
        voxel: NDArray[np.int64] = corner + voxels[generator.integers(len(voxels))]
        return voxel
