"""`data=synthetic`: CT-like phantoms generated on the fly, for a first run without any data."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from vae3d.data.config import SyntheticConfig
from vae3d.phantoms.chest import phantom
from vae3d.scans.source import CaseSource, Stamp
from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract

FIELD_OF_VIEW = 400.0
"""Millimetres across the longest axis of a phantom."""


class PhantomSource(CaseSource):
    """Phantoms in HU on a grid of equal spacing."""

    # There are always `count` of them: each split gets its share.
    split_kind = "count"

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.shape = tuple(config.shape)
        super().__init__(
            spatial_dims=len(self.shape),
            contract=IntensityContract("window", -1000.0, 1000.0, unit="HU"),
            case_ids=[f"phantom_{index:04d}" for index in range(config.count)],
            splits=[None] * config.count,
        )

    def read(self, index: int) -> Volume:
        """Compute a phantom."""
        data = torch.from_numpy(phantom(self.shape, self.config.seed, index))[None]
        spacing = FIELD_OF_VIEW / max(self.shape)
        return Volume(data, grid_affine(self.shape, spacing), self.case_ids[index])

    def stamp(self, index: int) -> Stamp:
        """Return a mark made of the seed, the shape and the number."""
        return Stamp(f"{self.config.seed}:{index}:{self.shape}", 4 * math.prod(self.shape))


def grid_affine(shape: tuple[int, ...], spacing: float) -> NDArray[np.float64]:
    """Return the affine of a grid with its centre at the origin and axes D, H, W along z, y, x."""
    dims = len(shape)
    affine = np.eye(dims + 1)
    affine[:dims, :dims] = spacing * np.eye(dims)[::-1]
    affine[:dims, dims] = [-(n - 1) / 2 * spacing for n in reversed(shape)]
    return affine
