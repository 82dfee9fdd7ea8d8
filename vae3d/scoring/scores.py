"""The scores of a reconstruction by name: values, units and which direction is better."""

import math
from collections.abc import Sequence

from vae3d.scoring.config import METRICS
from vae3d.scoring.measure import Errors
from vae3d.scoring.metrics import Scale

SEAM = "seam"
"""Name of the seam score. Its best value is 1: below 1 the error is smoother across borders than
next to them, which is a visible border too."""


def scored(metrics: Sequence[str], errors: Errors, scale: Scale) -> dict[str, float]:
    """Return the metrics by name, without those that are undefined for lack of voxels."""
    if not errors.voxels:
        return {}
    values = {name: METRICS[name].of(errors, scale) for name in metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def unit_of(name: str, unit: str) -> str:
    """Return the unit of a score (`psnr`, `mae/bone`, `psnr@floor`, `seam`) of scans in `unit`."""
    metric = METRICS.get(name.split("/")[0].split("@")[0])
    return metric.unit.format(unit=unit) if metric else ""


def better_of(name: str) -> int:
    """Return 1 if more of a score is better, -1 if less is better, 0 if nearer to 1 is better."""
    plain = name.split("/")[0].split("@")[0]
    if plain == SEAM:
        return 0
    return METRICS[plain].better if plain in METRICS else -1


def worth(name: str, value: float) -> float:
    """Return a score as a number of which more is better."""
    return better_of(name) * value if better_of(name) else -abs(value - 1)
