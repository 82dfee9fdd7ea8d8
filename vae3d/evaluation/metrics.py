"""Scores of one reconstruction by name."""

import math
from collections.abc import Callable

from torch import Tensor

from vae3d.loss.structural import ssim

MODEL_RANGE = 2.0
"""Images and reconstructions lie in [-1, 1]."""


def mse(image: Tensor, reconstruction: Tensor, span: float) -> float:
    """Mean squared error in the scan's units squared; `span` is the width of its range there."""
    return _model_mse(image, reconstruction) * (span / MODEL_RANGE) ** 2


def mae(image: Tensor, reconstruction: Tensor, span: float) -> float:
    """Mean absolute error in the scan's units."""
    return (image - reconstruction).abs().double().mean().item() * span / MODEL_RANGE


def psnr(image: Tensor, reconstruction: Tensor, span: float) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the width of the range."""
    error = _model_mse(image, reconstruction)
    return 10 * math.log10(MODEL_RANGE**2 / error) if error > 0 else math.inf


def structural_similarity(image: Tensor, reconstruction: Tensor, span: float) -> float:
    """SSIM with the width of the range as data range."""
    return ssim(image[None], reconstruction[None], MODEL_RANGE).item()


def _model_mse(image: Tensor, reconstruction: Tensor) -> float:
    return (image - reconstruction).square().double().mean().item()


METRICS: dict[str, Callable[[Tensor, Tensor, float], float]] = {
    "mse": mse,
    "mae": mae,
    "psnr": psnr,
    "ssim": structural_similarity,
}
"""Metrics by name: image and reconstruction (C, *spatial) in [-1, 1], width of the range."""


def unit_of(metric: str, unit: str) -> str:
    """The unit of a metric for scans in `unit`."""
    return {"mse": f"{unit}^2", "mae": unit, "psnr": "dB", "ssim": ""}[metric]
