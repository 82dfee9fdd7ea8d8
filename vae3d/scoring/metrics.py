"""The metrics: functions of the errors of a reconstruction."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vae3d.scoring.measure import MODEL_RANGE, Errors
from vae3d.scoring.sharpness import BANDS, THRESHOLDS, Sharpness
from vae3d.scoring.spectrum import NYQUIST


@dataclass(frozen=True)
class Scale:
    """The width of [-1, 1] in the units of the scan, and in the reported range of the model."""

    span: float
    model_span: float = MODEL_RANGE

    @property
    def scan(self) -> float:
        """Units of the scan per unit of [-1, 1]."""
        return self.span / MODEL_RANGE

    @property
    def model(self) -> float:
        """Units of the reported range of the model per unit of [-1, 1]."""
        return self.model_span / MODEL_RANGE


@dataclass(frozen=True)
class Metric:
    """A metric: `of` computes it from the errors, `unit` may contain {unit}, that of the scan.

    `better` is 1 if more is better, -1 if less is, and 0 if nearer to 1 is. `regional` metrics are
    also defined for a part of a scan. `structural` metrics need the similarities, `sharp` ones the
    sharpness. `label` is the name that people read, the key in METRICS if it is empty. `places`
    are its decimals, None for four significant digits. `lowest` to `highest` are
    the values that the metric can have.
    """

    of: Callable[[Errors, Scale], float]
    unit: str
    better: int = -1
    regional: bool = True
    structural: bool = False
    sharp: bool = False
    label: str = ""
    places: int | None = None
    lowest: float = -math.inf
    highest: float = math.inf


def psnr(errors: Errors, scale: Scale) -> float:
    """Return the peak signal-to-noise ratio in dB.

    The peak is the width of the data range, in every region.
    """
    if errors.squared == 0:
        return math.inf
    return 10 * math.log10(MODEL_RANGE**2 / errors.squared)


def nmse(errors: Errors, scale: Scale) -> float:
    """Return the squared error over the squared image, both summed on [0, 1].

    Zbontar et al. 2018 (arXiv:1811.08839), equation 8.
    """
    if errors.squared == 0:
        return 0.0
    error = errors.squared / MODEL_RANGE**2
    return error / errors.signal if errors.signal else math.inf


def sharp_metric(of: Callable[[Sharpness], float], **about: Any) -> Metric:
    """Return a metric of the sharpness, NaN where that was not measured."""
    return Metric(
        lambda e, s: of(e.sharpness) if e.sharpness else math.nan,
        regional=False,
        sharp=True,
        **{"unit": "", "better": 0, "places": 3, "lowest": 0, **about},
    )


def power_metric(band: str) -> Metric:
    """Return the metric of the power kept in one of BANDS."""
    return sharp_metric(lambda s: s.power(band), label=f"Power kept, {band}")


def resolution_metric(threshold: float) -> Metric:
    """Return the metric of the frequency at which the shell correlation falls below a value."""
    return sharp_metric(
        lambda s: s.per_voxel.correlated_up_to(threshold),
        unit="cycles/voxel",
        better=1,
        label=f"FSC {threshold:g}",
        highest=NYQUIST,
    )


MSE = Metric(lambda e, s: e.squared * s.scan**2, "{unit}^2", label="MSE", lowest=0)
MAE = Metric(lambda e, s: e.absolute * s.scan, "{unit}", label="MAE", lowest=0)
RMSE = Metric(lambda e, s: math.sqrt(e.squared) * s.scan, "{unit}", label="RMSE", lowest=0)
PSNR = Metric(psnr, "dB", better=1, label="PSNR", places=2)
SSIM = Metric(
    lambda e, s: e.ssim,
    "",
    better=1,
    structural=True,
    label="SSIM",
    places=4,
    lowest=-1,
    highest=1,
)
MS_SSIM = Metric(
    lambda e, s: e.ms_ssim,
    "",
    better=1,
    regional=False,
    structural=True,
    label="MS-SSIM",
    places=4,
    # Similarities below 0 are clamped at every scale.
    lowest=0,
    highest=1,
)
NMSE = Metric(nmse, "", regional=False, label="NMSE", lowest=0)
GRADIENT = Metric(
    lambda e, s: e.gradient * s.scan,
    "{unit}/voxel",
    regional=False,
    label="Gradient error",
    lowest=0,
)
MSE_MODEL = Metric(
    lambda e, s: e.squared * s.model**2, "", regional=False, label="MSE (model range)", lowest=0
)
MAE_MODEL = Metric(
    lambda e, s: e.absolute * s.model, "", regional=False, label="MAE (model range)", lowest=0
)
RMSE_MODEL = Metric(
    lambda e, s: math.sqrt(e.squared) * s.model,
    "",
    regional=False,
    label="RMSE (model range)",
    lowest=0,
)
POWER_COARSE, POWER_MEDIUM, POWER_FINE, POWER_FINEST = map(power_metric, BANDS)
FSC = sharp_metric(
    lambda s: s.per_voxel.mean_correlation, better=1, label="FSC, mean", lowest=-1, highest=1
)
FSC_05, FSC_0143 = map(resolution_metric, THRESHOLDS)
STAIRCASE = sharp_metric(lambda s: s.staircase, label="Staircase")
