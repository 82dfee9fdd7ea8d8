"""Where a reconstruction is scored: parts of a scan by the values that it has there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae3d.values.intensity import IntensityRange

WHOLE = "whole"


@dataclass(frozen=True)
class ValueRegion:
    """The voxels of a scan with low <= value < high, in the scan's units."""

    name: str
    low: float
    high: float


TISSUES = (
    ValueRegion("air", -math.inf, -900.0),
    ValueRegion("lung", -900.0, -500.0),
    ValueRegion("fat", -150.0, -30.0),
    ValueRegion("soft_tissue", -30.0, 150.0),
    ValueRegion("bone", 150.0, math.inf),
)
"""What a CT shows by its HU. Contrast agent counts as bone, and what lies between two tissues as
the one that it looks like: these are windows, no segmentation."""

LANES = 8
"""Sums of a piece that are added up side by side."""
MANY = 2**18
"""Voxels looked at at once."""


def names_of(regions: Sequence[str], unit: str) -> list[str]:
    """The names of the regions chosen among REGIONS, for scans in this unit."""
    names = ["foreground"] if "foreground" in regions else []
    return [*names, *(t.name for t in TISSUES if "tissues" in regions and unit == "HU")]


def value_regions(regions: Sequence[str], range_: IntensityRange) -> list[ValueRegion]:
    """The regions chosen among REGIONS for a scan of this intensity range."""
    known = [ValueRegion("foreground", range_.foreground, math.inf), *TISSUES]
    names = names_of(regions, range_.unit)
    return [region for region in known if region.name in names]


class Buckets:
    """The line of values cut wherever a region begins or ends; each region is some of the pieces.

    So one look at a voxel serves all regions, however they overlap.
    """

    def __init__(self, regions: Sequence[ValueRegion]) -> None:
        ends = {end for region in regions for end in (region.low, region.high)}
        self.edges = torch.tensor(sorted(e for e in ends if math.isfinite(e)), dtype=torch.float32)
        self.count = len(self.edges) + 1
        assert self.count * LANES <= 256
        starts = [-math.inf, *self.edges.tolist()]
        self.members = {WHOLE: [True] * self.count}
        for region in regions:
            self.members[region.name] = [region.low <= s < region.high for s in starts]

    def of(self, values: Tensor) -> Tensor:
        """Where in the sums each voxel belongs, in a byte: its piece, in one of LANES.

        An addition waits for the one before it to the same place, and neighbours are mostly of
        one piece: those in a row lie in different lanes.
        """
        if self.count == 1:
            # One stands for all: there is nothing to tell apart.
            return torch.zeros((), dtype=torch.uint8).expand(values.shape)
        width = values.shape[-1]
        lanes = (torch.arange(width, device=values.device) % LANES * self.count).byte()
        places = torch.empty(values.shape, dtype=torch.uint8, device=values.device)
        rows = max(1, MANY // width)
        portions = (torch.split(x.reshape(-1, width), rows) for x in (values, places))
        for part, found in zip(*portions, strict=True):
            torch.add(self._pieces(part.float()), lanes, out=found)
        return places

    def _pieces(self, values: Tensor) -> Tensor:
        if not values.is_cpu:
            edges = self.edges.to(values.device)
            return torch.bucketize(values.contiguous(), edges, right=True).byte()
        # numpy compares sixteen voxels at once; a search among so few edges mostly guesses wrong.
        voxels = values.numpy()
        pieces = np.zeros(voxels.shape, np.uint8)
        for edge in self.edges.numpy():
            pieces += (voxels >= edge).view(np.uint8)
        return torch.from_numpy(pieces)

    def counts(self, places: Tensor) -> Tensor:
        """How many voxels lie in each piece, float64 on the CPU."""
        if self.count == 1:
            return torch.tensor([float(places.numel())], dtype=torch.float64)
        return self._gathered(torch.bincount(places.flatten(), minlength=LANES * self.count))

    def sums(self, places: Tensor, weights: Tensor) -> Tensor:
        """The sum of `weights` over each piece, float64 on the CPU."""
        if self.count == 1:
            # Nothing to sort where all goes into one.
            return weights.sum(dtype=torch.float64).reshape(1).cpu()
        found = torch.bincount(
            places.flatten(), weights.flatten().double(), minlength=LANES * self.count
        )
        return self._gathered(found)

    def _gathered(self, found: Tensor) -> Tensor:
        return found.view(LANES, self.count).sum(dim=0).double().cpu()
