"""Scores of one reconstruction by name."""

import math
from collections.abc import Sequence

from vae3d.scoring.config import METRICS
from vae3d.scoring.measure import Errors
from vae3d.scoring.metrics import Scale

SEAM = "seam"
"""Below 1 the error is smoother across borders than beside them: no merit, but a border seen."""


def scored(metrics: Sequence[str], errors: Errors, scale: Scale) -> dict[str, float]:
    """The metrics by name; what cannot be told, for want of voxels, is left out."""
    if not errors.voxels:
        return {}
    values = {name: METRICS[name].of(errors, scale) for name in metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def unit_of(name: str, unit: str) -> str:
    """The unit of a score (`psnr`, `mae/bone`, `psnr@floor`, `seam`) for scans in `unit`."""
    metric = METRICS.get(name.split("/")[0].split("@")[0])
    return metric.unit.format(unit=unit) if metric else ""


def better_of(name: str) -> int:
    """1 where more of a score is better, -1 where less is, 0 where what is nearer to 1 is."""
    plain = name.split("/")[0].split("@")[0]
    if plain == SEAM:
        return 0
    return METRICS[plain].better if plain in METRICS else -1


def worth(name: str, value: float) -> float:
    """A score as a number of which more is better."""
    return better_of(name) * value if better_of(name) else -abs(value - 1)
