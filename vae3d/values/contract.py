"""`InputContract`: how scans become the input of a network."""

import math
from dataclasses import dataclass
from typing import Any

from vae3d.errors import ConfigError
from vae3d.files.plain import from_plain
from vae3d.runtime.choices import READERS, RESAMPLINGS
from vae3d.values.intensity import IntensityContract


@dataclass(frozen=True)
class InputContract:
    """The intensity range and the grid that the weights of a network were trained with.

    `spacing` is (D, H, W) in millimetres, None if scans kept their own; `intensity` is None if it
    is not known. `channel` is the component of scans that have several, counted from 0; None if
    they have one, or if it is not known. `resampling` and `reader` are how scans were resampled
    and read (RESAMPLINGS and READERS); weights of earlier versions do not name them, and mean the
    first ones.
    """

    intensity: IntensityContract | None = None
    spacing: tuple[float, ...] | None = None
    channel: int | None = None
    resampling: str = RESAMPLINGS[0]
    reader: int = READERS[0]

    def __post_init__(self) -> None:
        spacing = self.spacing
        if spacing is not None and not (
            len(spacing) == 3 and all(0 < side < math.inf for side in spacing)
        ):
            raise ConfigError(f"spacing must be three numbers above 0, got {[*spacing]}")
        for key, known in (("resampling", RESAMPLINGS), ("reader", READERS)):
            value = getattr(self, key)
            if value not in known:
                raise ConfigError(
                    f"{key} must be one of {', '.join(map(str, known))}, got {value!r:.60}; "
                    "a newer vae3d may have written it"
                )

    @property
    def values(self) -> dict[str, Any]:
        """The settings of data that the contract stands for, by their key below `data`."""
        values: dict[str, Any] = {"spacing": self.spacing, "channel": self.channel}
        if self.intensity is not None:
            values[self.intensity.kind] = (self.intensity.low, self.intensity.high)
        return values

    def unit_of(self, name: str) -> str:
        """Return the unit behind one of `values`, with a space before it; empty if it has none."""
        if name == "spacing":
            return " mm" if self.spacing else " (the scans' own)"
        units = {"window": self.intensity.unit if self.intensity else "", "percentiles": "%"}
        return f" {units[name]}" if units.get(name) else ""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "InputContract":
        """Read what `describe` returned; other keys are ignored.

        Raises:
            ConfigError: one of them is not valid.
        """
        spacing = from_plain(list[float] | None, values.get("spacing"), "spacing")
        intensity = from_plain(IntensityContract | None, values.get("intensity"), "intensity")
        channel = from_plain(int | None, values.get("channel"), "channel")
        sides = None if spacing is None else tuple(spacing)
        resampling = from_plain(str, values.get("resampling", RESAMPLINGS[0]), "resampling")
        reader = from_plain(int, values.get("reader", READERS[0]), "reader")
        return cls(intensity, sides, channel, resampling, reader)

    def describe(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        if self == InputContract():
            return {}
        return {
            "intensity": self.intensity and self.intensity.describe(),
            "spacing": None if self.spacing is None else [*self.spacing],
            "channel": self.channel,
            "resampling": self.resampling,
            "reader": self.reader,
        }
