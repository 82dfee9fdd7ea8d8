"""`ScoringConfig`: what is measured, and against what."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from vae3d.bounds import AtLeast, LowHigh, PerAxis, Settings, SomeOf
from vae3d.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from vae3d.scoring.metrics import Metric

_METRICS = "vae3d.scoring.metrics"

METRICS: "Registry[Metric]" = Registry(
    "metric",
    {
        "mse": f"{_METRICS}:MSE",
        "mae": f"{_METRICS}:MAE",
        "rmse": f"{_METRICS}:RMSE",
        "psnr": f"{_METRICS}:PSNR",
        "ssim": f"{_METRICS}:SSIM",
        "ms_ssim": f"{_METRICS}:MS_SSIM",
        "nmse": f"{_METRICS}:NMSE",
        "gradient": f"{_METRICS}:GRADIENT",
        "mse_model": f"{_METRICS}:MSE_MODEL",
        "mae_model": f"{_METRICS}:MAE_MODEL",
        "rmse_model": f"{_METRICS}:RMSE_MODEL",
    },
)
"""Metrics by name. Errors are in the scan's units, `_model` in the model's range."""

BASELINES: "Registry[Callable[[Tensor, int], Tensor]]" = Registry(
    "baseline",
    {
        "downsample": "vae3d.scoring.references:downsampled",
        "jpeg": "vae3d.scoring.references:jpeg",
    },
)
"""Baselines by name: an image (C, *spatial) in [-1, 1] kept as so many numbers, and back."""

REGIONS = ("foreground", "tissues")


@dataclass
class ScoringConfig(Settings, key="evaluation"):
    """What is measured of a reconstruction, and against what."""

    metrics: Annotated[list[str], SomeOf(of=METRICS, least=1)] = field(
        default_factory=lambda: list(METRICS)
    )
    """Scores of every case, as in evaluation.metrics=[psnr,ssim]; docs/evaluation.md defines
    them."""
    regions: Annotated[list[str], SomeOf(*REGIONS)] = field(default_factory=lambda: list(REGIONS))
    """Parts of a scan that are scored besides the whole: its foreground, and the tissues of a CT
    by HU."""
    floor: bool = True
    """Also report what clipping and resampling cost without any VAE."""
    baselines: Annotated[list[str], SomeOf(of=BASELINES)] = field(default_factory=list)
    """Simpler ways to keep as many numbers as the latent has, scored for comparison."""
    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Data range [low, high] of the scores in the scan's units; null is what the model sees."""
    crop: Annotated[Any, PerAxis(AtLeast(1), nullable=True)] = None
    """Voxels around the centre that are scored, one number or one per axis, filled up with the low
    end; null scores all."""
    model_range: Annotated[tuple[float, ...], LowHigh()] = (-1.0, 1.0)
    """Range that the _model metrics map the window to."""
