"""The scan's units to the model's range [-1, 1] and back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import ConfigError, VolumeError
from vae3d.values.voxel_statistics import VoxelStatistics, percentiles_of

KINDS = ("window", "percentiles")
FOREGROUND_SHARE = 0.1
"""Share of the intensity range above its low end from which voxels are foreground."""
PORTION = 2**17


@dataclass(frozen=True)
class IntensityRange:
    """The values of one scan that the model sees, `low` to `high`, in `unit`."""

    low: float
    high: float
    unit: str

    @property
    def span(self) -> float:
        """The width of the range, the data range of its scores."""
        return self.high - self.low

    @property
    def foreground(self) -> float:
        """The value, in `unit`, above which voxels are foreground."""
        return self.low + FOREGROUND_SHARE * self.span

    def to_model(self, values: Tensor, clip: bool = True) -> Tensor:
        """The scan's values, any type, as float32, where the range is [-1, 1].

        What lies outside is clipped, or with `clip=False` lies beyond.
        """
        # One copy, then in place: a loader makes hundreds of patches a second this way.
        scaled = values.to(torch.float32, copy=True)
        for part in _portions(scaled):
            if clip:
                part.clamp_(self.low, self.high)
            part.sub_(self.low).mul_(2 / self.span).sub_(1)
        return scaled

    def from_model(self, values: Tensor, copy: bool = True) -> Tensor:
        """Values in [-1, 1] in the scan's units, float32; without `copy` in their own place."""
        scaled = values.to(torch.float32, copy=copy)
        for part in _portions(scaled):
            part.add_(1).mul_(self.span / 2).add_(self.low)
        return scaled

    def clipped(self, values: Tensor) -> Tensor:
        """What of the scan's values the model can see, in the scan's units, float32."""
        return values.to(torch.float32, copy=True).clamp_(self.low, self.high)


def _portions(values: Tensor) -> Sequence[Tensor]:
    """Views of all voxels, each of which stays in a core's cache while it is worked on."""
    return torch.split(values.view(-1), PORTION) if values.is_contiguous() else (values,)


@dataclass(frozen=True)
class IntensityContract:
    """How any scan finds its `IntensityRange`; kept with the weights.

    `window`: the same `low` to `high` for all, in `unit` (CT). `percentiles`: those of the
    scan's own voxels, in [0, 100] (MR, whose units differ from scan to scan).
    """

    kind: str
    low: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"intensity kind must be one of {', '.join(KINDS)}, got {self.kind}")
        if not self.low < self.high:
            raise ConfigError(
                f"data.{self.kind} must be [low, high] with low < high, "
                f"got [{self.low}, {self.high}]"
            )
        if self.kind == "percentiles" and (self.low < 0 or self.high > 100):
            raise ConfigError(
                f"data.percentiles must lie in [0, 100], got [{self.low}, {self.high}]"
            )

    def range_of(self, voxels: NDArray[Any], case_id: str) -> IntensityRange:
        """The range of a scan with these voxels.

        Raises:
            VolumeError: the percentiles coincide.
        """
        if self.kind == "window":
            return IntensityRange(self.low, self.high, self.unit)
        low, high = percentiles_of(voxels, (self.low, self.high)).tolist()
        return self._between(low, high, case_id)

    def range_known(self, statistics: VoxelStatistics, case_id: str) -> IntensityRange | None:
        """The same without the voxels; None where these percentiles were not kept.

        Raises:
            VolumeError: the percentiles coincide.
        """
        if self.kind == "window":
            return IntensityRange(self.low, self.high, self.unit)
        low, high = statistics.percentile(self.low), statistics.percentile(self.high)
        if low is None or high is None:
            return None
        return self._between(low, high, case_id)

    def _between(self, low: float, high: float, case_id: str) -> IntensityRange:
        if not low < high:
            raise VolumeError(
                case_id,
                f"percentiles {self.low} and {self.high} are both {low:g}; widen data.percentiles",
            )
        return IntensityRange(low, high, self.unit)

    def describe(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "unit": self.unit}
