"""Regions of a scan, defined by ranges of its values, in which a reconstruction is scored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vae3d.values.intensity import IntensityRange

WHOLE = "whole"
"""Name of the region that holds every voxel."""


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
"""Tissues of a CT by HU. These are windows of values, no segmentation: contrast agent counts as
bone, and a border between two tissues as the tissue of its value."""

LANES = 8
"""Partial sums of each bin, between which neighbouring voxels alternate."""
VOXELS_PER_CHUNK = 2**18
"""Voxels that are assigned to bins in one pass."""


def names_of(regions: Sequence[str], unit: str) -> list[str]:
    """Return the names of the regions chosen from REGIONS, for scans in this unit."""
    names = ["foreground"] if "foreground" in regions else []
    return [*names, *(t.name for t in TISSUES if "tissues" in regions and unit == "HU")]


def value_regions(regions: Sequence[str], range_: IntensityRange) -> list[ValueRegion]:
    """Return the regions chosen from REGIONS, for a scan of this intensity range."""
    choices = [ValueRegion("foreground", range_.foreground, math.inf), *TISSUES]
    names = names_of(regions, range_.unit)
    return [region for region in choices if region.name in names]


class Buckets:
    """Bins of values with an edge wherever a region begins or ends; a region is a set of bins.

    One pass over the voxels therefore serves all regions, even if they overlap. `members` states
    for each region which bins it contains.
    """

    def __init__(self, regions: Sequence[ValueRegion]) -> None:
        ends = {end for region in regions for end in (region.low, region.high)}
        self.edges = torch.tensor(sorted(e for e in ends if math.isfinite(e)), dtype=torch.float32)
        self.count = len(self.edges) + 1
        # `of` stores a bin and its lane in one byte.
        assert self.count * LANES <= 256
        starts = [-math.inf, *self.edges.tolist()]
        self.members = {WHOLE: [True] * self.count}
        for region in regions:
            self.members[region.name] = [region.low <= s < region.high for s in starts]

    def of(self, values: Tensor) -> Tensor:
        """Return the index of the partial sum of each voxel, uint8: its bin, in one of LANES.

        Consecutive additions to one memory location wait for each other, and neighbours are mostly
        in the same bin. Voxels next to each other in a row therefore use different lanes.
        """
        if self.count == 1:
            # A single bin needs one element, expanded without memory.
            return torch.zeros((), dtype=torch.uint8).expand(values.shape)
        width = values.shape[-1]
        lanes = (torch.arange(width, device=values.device) % LANES * self.count).byte()
        places = torch.empty(values.shape, dtype=torch.uint8, device=values.device)
        rows = max(1, VOXELS_PER_CHUNK // width)
        chunks = (torch.split(x.reshape(-1, width), rows) for x in (values, places))
        for part, place in zip(*chunks, strict=True):
            torch.add(self._bins(part.float()), lanes, out=place)
        return places

    def _bins(self, values: Tensor) -> Tensor:
        """Return the bin of each value, uint8."""
        if not values.is_cpu:
            edges = self.edges.to(values.device)
            return torch.bucketize(values.contiguous(), edges, right=True).byte()
        # numpy compares sixteen voxels per instruction. A binary search among few edges is slower,
        # because its branches are mostly mispredicted.
        voxels = values.numpy()
        bins = np.zeros(voxels.shape, np.uint8)
        for edge in self.edges.numpy():
            bins += (voxels >= edge).view(np.uint8)
        return torch.from_numpy(bins)

    def counts(self, places: Tensor) -> Tensor:
        """Return the number of voxels in each bin, float64 on the CPU."""
        if self.count == 1:
            return torch.tensor([float(places.numel())], dtype=torch.float64)
        return self._bin_sums(places)

    def sums(self, places: Tensor, weights: Tensor) -> Tensor:
        """Return the sum of `weights` in each bin, float64 on the CPU."""
        if self.count == 1:
            # A plain sum is faster than bincount.
            return weights.sum(dtype=torch.float64).reshape(1).cpu()
        return self._bin_sums(places, weights.flatten().double())

    def _bin_sums(self, places: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the sum of the weights, each 1 by default, in each bin, over all of its lanes."""
        partial_sums = torch.bincount(places.flatten(), weights, minlength=LANES * self.count)
        return partial_sums.view(LANES, self.count).sum(dim=0).double().cpu()
