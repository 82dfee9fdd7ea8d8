"""Conversion of a scan's units to the model's range [-1, 1] and back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.errors import ConfigError, VolumeError
from vae3d.values.voxel_statistics import VoxelStatistics, percentiles_of

KINDS = ("window", "percentiles")
ARBITRARY = "a.u."
"""The unit of values that have none: arbitrary units."""
_FORMER_UNIT = re.compile(r"(^|(?<=\] ))intensity(?=(\^2)?$)")
"""What earlier versions called arbitrary units, also squared and after a window."""
FOREGROUND_SHARE = 0.1
"""Share of the intensity range above its low end from which voxels are foreground."""
LARGEST = 1e37
"""The largest limit of a range: twice as much, and its inverse, are numbers of float32."""
PORTION = 2**17
"""Voxels converted at a time: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class IntensityRange:
    """The range of one scan's values that the model sees, `low` to `high`, in `unit`."""

    low: float
    high: float
    unit: str

    @property
    def span(self) -> float:
        """The width of the range, which is the data range of scores."""
        return self.high - self.low

    @property
    def foreground(self) -> float:
        """The value, in `unit`, above which voxels are foreground."""
        return self.low + FOREGROUND_SHARE * self.span

    def to_model(self, values: Tensor, clip: bool = True) -> Tensor:
        """Return the scan's values, of any type, as float32 with the range mapped to [-1, 1].

        Values outside of the range are clipped, or exceed [-1, 1] with `clip=False`.
        """
        # One copy, then in place: a loader converts hundreds of patches a second.
        scaled = values.to(torch.float32, copy=True)
        for part in _portions(scaled):
            if clip:
                part.clamp_(self.low, self.high)
            part.sub_(self.low).mul_(2 / self.span).sub_(1)
        return scaled

    def from_model(self, values: Tensor, copy: bool = True) -> Tensor:
        """Return values in [-1, 1] in the scan's units, float32; in place without `copy`."""
        scaled = values.to(torch.float32, copy=copy)
        for part in _portions(scaled):
            part.add_(1).mul_(self.span / 2).add_(self.low)
        return scaled

    def clipped(self, values: Tensor) -> Tensor:
        """Return the scan's values clipped to the range, in the scan's units, float32."""
        return values.to(torch.float32, copy=True).clamp_(self.low, self.high)


def _portions(values: Tensor) -> Sequence[Tensor]:
    """Return views of PORTION voxels each, or the tensor itself if not contiguous."""
    return torch.split(values.view(-1), PORTION) if values.is_contiguous() else (values,)


@dataclass(frozen=True)
class IntensityContract:
    """The rule for the `IntensityRange` of any scan; saved with the weights.

    `window`: the same `low` to `high` for all, in `unit` (CT). `percentiles`: those of the
    scan's own voxels, in [0, 100] (MR, whose units differ from scan to scan).
    """

    kind: str
    low: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit", current_units(self.unit))
        if self.kind not in KINDS:
            raise ConfigError(f"intensity kind must be one of {', '.join(KINDS)}, got {self.kind}")
        if not self.low < self.high:
            raise ConfigError(
                f"data.{self.kind} must be [low, high] with low < high, "
                f"got [{self.low}, {self.high}]"
            )
        if max(-self.low, self.high) > LARGEST or self.high - self.low < 1 / LARGEST:
            raise ConfigError(
                f"data.{self.kind} must be numbers from {-LARGEST:g} to {LARGEST:g}, different in "
                f"float32, got [{self.low}, {self.high}]"
            )
        if self.kind == "percentiles" and (self.low < 0 or self.high > 100):
            raise ConfigError(
                f"data.percentiles must be in [0, 100], got [{self.low}, {self.high}]"
            )

    def range_of(self, voxels: NDArray[Any], case_id: str) -> IntensityRange:
        """Return the range of a scan with these voxels.

        Raises:
            VolumeError: both percentiles are equal.
        """
        if self.kind == "window":
            return IntensityRange(self.low, self.high, self.unit)
        low, high = percentiles_of(voxels, (self.low, self.high)).tolist()
        return self._between(low, high, case_id)

    def range_from_statistics(
        self, statistics: VoxelStatistics, case_id: str
    ) -> IntensityRange | None:
        """Return the range from statistics; None if they lack these percentiles.

        Raises:
            VolumeError: both percentiles are equal.
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
        """Return plain values for a JSON file."""
        return {"kind": self.kind, "low": self.low, "high": self.high, "unit": self.unit}


def current_units(value: Any) -> Any:
    """Return a text, or the plain values of a JSON file, with units as they are called now."""
    if isinstance(value, dict):
        return {key: current_units(entry) for key, entry in value.items()}
    return _FORMER_UNIT.sub(ARBITRARY, value) if isinstance(value, str) else value
