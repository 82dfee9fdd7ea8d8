"""`scans_like`: the settings to read scans as others were read."""

from typing import Any

from vae3d.data.config import CTConfig, Images2DConfig, MRIConfig, ScansConfig
from vae3d.values.intensity import IntensityContract


def scans_like(
    intensity: IntensityContract, spatial_dims: int, spacing: Any, **given: Any
) -> ScansConfig:
    """Return the settings to read scans with this contract and spacing, each once.

    `given` are other fields of ScansConfig. Images have no spacing.
    """
    values = {"store": None, "cache_gib": 0.0, **given}
    limits = (intensity.low, intensity.high)
    if spatial_dims == 2:
        return Images2DConfig(**values, window=limits)
    if intensity.kind == "percentiles":
        return MRIConfig(**values, spacing=spacing, percentiles=limits)
    return CTConfig(**values, spacing=spacing, window=limits)
