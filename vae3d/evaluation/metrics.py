"""Scores of one reconstruction by name."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vae3d.evaluation.config import METRICS
from vae3d.evaluation.measure import MODEL_RANGE, Errors

SEAM = "seam"
"""Below 1 the error is smoother across borders than beside them: no merit, but a border seen."""


@dataclass(frozen=True)
class Scale:
    """What the width 2 of [-1, 1] is in the scan's units, and in the model's range as reported."""

    span: float
    model_span: float = MODEL_RANGE

    @property
    def scan(self) -> float:
        """Units of the scan for one of [-1, 1]."""
        return self.span / MODEL_RANGE

    @property
    def model(self) -> float:
        """Units of the reported model's range for one of [-1, 1]."""
        return self.model_span / MODEL_RANGE


@dataclass(frozen=True)
class Metric:
    """`of` gives it from the errors; `unit` is written with {unit} for the scan's.

    `regional`: it can be told for a part of a scan. `structural`: it takes similarities. `better`
    is 1 where more is better, else -1.
    """

    of: Callable[[Errors, Scale], float]
    unit: str
    better: int = -1
    regional: bool = True
    structural: bool = False


def psnr(errors: Errors, scale: Scale) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the width of the range, in any region."""
    if errors.squared == 0:
        return math.inf
    return 10 * math.log10(MODEL_RANGE**2 / errors.squared)


def nmse(errors: Errors, scale: Scale) -> float:
    """Squared error over the squared image, both summed on [0, 1] (Zbontar et al. 2018, eq. 8)."""
    if errors.squared == 0:
        return 0.0
    error = errors.squared / MODEL_RANGE**2
    return error / errors.signal if errors.signal else math.inf


MSE = Metric(lambda e, s: e.squared * s.scan**2, "{unit}^2")
MAE = Metric(lambda e, s: e.absolute * s.scan, "{unit}")
RMSE = Metric(lambda e, s: math.sqrt(e.squared) * s.scan, "{unit}")
PSNR = Metric(psnr, "dB", better=1)
SSIM = Metric(lambda e, s: e.ssim, "", better=1, structural=True)
MS_SSIM = Metric(lambda e, s: e.ms_ssim, "", better=1, regional=False, structural=True)
NMSE = Metric(nmse, "", regional=False)
GRADIENT = Metric(lambda e, s: e.gradient * s.scan, "{unit}/voxel", regional=False)
MSE_MODEL = Metric(lambda e, s: e.squared * s.model**2, "", regional=False)
MAE_MODEL = Metric(lambda e, s: e.absolute * s.model, "", regional=False)
RMSE_MODEL = Metric(lambda e, s: math.sqrt(e.squared) * s.model, "", regional=False)


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
