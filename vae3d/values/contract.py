"""`InputContract`: how scans become the input of a network."""

import math
from dataclasses import dataclass
from typing import Any

from vae3d.errors import ConfigError
from vae3d.runtime.plain import from_plain
from vae3d.values.intensity import IntensityContract


@dataclass(frozen=True)
class InputContract:
    """The intensity range and the grid that the weights of a network were trained with.

    `spacing` is (D, H, W) in millimetres, None if scans kept their own; `intensity` is None if it
    is not known.
    """

    intensity: IntensityContract | None = None
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        spacing = self.spacing
        if spacing is not None and not (
            len(spacing) == 3 and all(0 < side < math.inf for side in spacing)
        ):
            raise ConfigError(f"spacing must be three numbers above 0, got {[*spacing]}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "InputContract":
        """Read what `describe` returned; other keys are ignored.

        Raises:
            ConfigError: the intensity or the spacing is not valid.
        """
        spacing = from_plain(list[float] | None, values.get("spacing"), "spacing")
        intensity = from_plain(IntensityContract | None, values.get("intensity"), "intensity")
        return cls(intensity, None if spacing is None else tuple(spacing))

    def describe(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        if self == InputContract():
            return {}
        return {
            "intensity": self.intensity and self.intensity.describe(),
            "spacing": None if self.spacing is None else [*self.spacing],
        }
