"""`ScoringConfig`: the metrics, regions and references of the scores."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from vae3d.bounds import PATH, AtLeast, LowHigh, PerAxis, Settings, SomeOf
from vae3d.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from vae3d.distances.sets import SetScore
    from vae3d.scoring.codecs import Coded
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
        "power_coarse": f"{_METRICS}:POWER_COARSE",
        "power_medium": f"{_METRICS}:POWER_MEDIUM",
        "power_fine": f"{_METRICS}:POWER_FINE",
        "power_finest": f"{_METRICS}:POWER_FINEST",
        "fsc": f"{_METRICS}:FSC",
        "fsc_05": f"{_METRICS}:FSC_05",
        "fsc_0143": f"{_METRICS}:FSC_0143",
        "staircase": f"{_METRICS}:STAIRCASE",
    },
)
"""Metrics by name. Errors are in the units of the scan; `_model` errors are in the range of the
model."""

_CODECS = "vae3d.scoring.codecs"

BASELINES: "Registry[Callable[[Tensor, int], Coded]]" = Registry(
    "baseline",
    {
        "downsample": f"{_CODECS}:downsampled",
        "jpeg": f"{_CODECS}:jpeg",
        "jpeg2000": f"{_CODECS}:jpeg2000",
        "jpeg2000_3d": f"{_CODECS}:jpeg2000_3d",
    },
)
"""Baselines by name: functions of an image (C, *spatial) in [-1, 1] and a number of bits that
return the image after it was stored in at most as many."""

SET_SCORES: "Registry[SetScore]" = Registry(
    "set score",
    {
        "swd": "vae3d.distances.sets:SWD",
        "frechet_radiomics": "vae3d.distances.sets:FRECHET_RADIOMICS",
    },
)
"""Scores of a whole set of images by name."""

REGIONS = ("foreground", "tissues")
"""Choices of `evaluation.regions`."""


@dataclass
class ScoringConfig(Settings, key="evaluation"):
    """Settings of the scores: metrics, regions, references and data range."""

    metrics: Annotated[list[str], SomeOf(of=METRICS, least=1)] = field(
        default_factory=lambda: list(METRICS)
    )
    """Scores of every case, as in evaluation.metrics=[psnr,ssim]; docs/evaluation.md defines
    them."""
    features: Annotated[str | None, PATH] = None
    """Folder of vae3d import kind=features, or an earlier run, whose encoder is used: adds the
    score perceptual (LPIPS with its weights) and the Fréchet distance of features; null adds
    none."""
    feature_slices: Annotated[int, AtLeast(1)] = 4
    """A 2D network of features sees every n-th slice of a volume along each axis."""
    sets: Annotated[list[str], SomeOf(of=SET_SCORES)] = field(default_factory=lambda: ["swd"])
    """Scores of all reconstructions together against all scans; docs/evaluation.md defines
    them."""
    regions: Annotated[list[str], SomeOf(*REGIONS)] = field(default_factory=lambda: list(REGIONS))
    """Parts of a scan that are scored in addition to the whole: its foreground, and the tissues of
    a CT by HU."""
    floor: bool = True
    """Also report the floor: the error of clipping and resampling alone, without any VAE."""
    baselines: Annotated[list[str], SomeOf(of=BASELINES)] = field(default_factory=list)
    """Simpler compression methods of the same size as the latent, scored for comparison."""
    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Data range [low, high] of the scores in the units of the scan; null is the range that the
    model sees."""
    crop: Annotated[Any, PerAxis(AtLeast(1), nullable=True)] = None
    """Voxels around the centre that are scored, one number or one per axis, padded with the low
    end of the range; null scores all."""
    model_range: Annotated[tuple[float, ...], LowHigh()] = (-1.0, 1.0)
    """Range that the window is mapped to for the _model metrics."""
