"""Where a reconstruction is scored: parts of a scan by the values that it has there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WHOLE = "whole"
FOREGROUND_SHARE = 0.1
"""Foreground lies above this part of the intensity range."""


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

REGIONS = ("foreground", "tissues")


def names_of(regions: Sequence[str], unit: str) -> list[str]:
    """The names of the regions chosen among REGIONS, for scans in this unit."""
    names = ["foreground"] if "foreground" in regions else []
    return [*names, *(t.name for t in TISSUES if "tissues" in regions and unit == "HU")]


def value_regions(regions: Sequence[str], unit: str, low: float, high: float) -> list[ValueRegion]:
    """The regions chosen among REGIONS for a scan in `unit` whose range is `low` to `high`."""
    threshold = low + FOREGROUND_SHARE * (high - low)
    known = [ValueRegion("foreground", threshold, math.inf), *TISSUES]
    names = names_of(regions, unit)
    return [region for region in known if region.name in names]


class Buckets:
    """The line of values cut wherever a region begins or ends; each region is some of the pieces.

    So one look at a voxel serves all regions, however they overlap.
    """

    def __init__(self, regions: Sequence[ValueRegion]) -> None:
        ends = {end for region in regions for end in (region.low, region.high)}
        self.edges = torch.tensor(sorted(e for e in ends if math.isfinite(e)), dtype=torch.float32)
        self.count = len(self.edges) + 1
        starts = [-math.inf, *self.edges.tolist()]
        self.members = {WHOLE: [True] * self.count}
        for region in regions:
            self.members[region.name] = [region.low <= s < region.high for s in starts]

    def of(self, values: Tensor) -> Tensor:
        """The number of each voxel's piece, flat int64; one stands for all where there is one."""
        if self.count == 1:
            return torch.zeros((), dtype=torch.int64).expand(values.numel())
        edges = self.edges.to(values.device)
        return torch.bucketize(values.float().flatten().contiguous(), edges, right=True)

    def counts(self, pieces: Tensor) -> Tensor:
        """How many voxels lie in each piece, float64 on the CPU."""
        if self.count == 1:
            return torch.tensor([float(pieces.numel())], dtype=torch.float64)
        return torch.bincount(pieces, minlength=self.count).double().cpu()

    def sums(self, pieces: Tensor, weights: Tensor) -> Tensor:
        """The sum of `weights` over each piece, float64 on the CPU."""
        if self.count == 1:
            # Nothing to sort where all goes into one.
            return weights.sum(dtype=torch.float64).reshape(1).cpu()
        found: Tensor = torch.bincount(pieces, weights.flatten().double(), minlength=self.count)
        return found.cpu()
