"""The metrics, each a function of the errors of a reconstruction."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from vae3d.scoring.measure import MODEL_RANGE, Errors


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
