"""The grid and the values of latents that come without a record, such as samples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import ConfigError, RunError
from vae3d.latents.codec import Codec
from vae3d.latents.file import LatentRecord
from vae3d.scans.resample import resized_affine
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityRange


def plain_record(
    codec: Codec,
    name: str,
    size: tuple[int, ...],
    affine: NDArray[np.float64] | None,
    spacing: Sequence[float] | None,
    range_: Sequence[float] | None,
) -> LatentRecord:
    """Return a record with which a latent of spatial `size` decodes.

    `affine` maps its voxels to RAS millimetres. Without it the grid of the volume begins at the
    origin and has the `spacing` that is given, else that of the weights, else 1 mm. `range_` are
    the values that [-1, 1] is decoded to; None is the window of the weights.

    Raises:
        ConfigError: another number of axes than the weights have, or no range is known.
        RunError: the weights hold no intensity contract.
    """
    model = codec.model
    if len(size) != model.spatial_dims:
        raise ConfigError(f"{name}: the weights are for {model.spatial_dims}D data")
    shape = tuple(n * f for n, f in zip(size, model.factor, strict=True))
    if affine is None:
        grid = _grid(spacing or model.contract.spacing or (1.0,) * len(size), len(size))
    else:
        grid = resized_affine(affine, size, shape)
    values = _range(model.contract, range_)
    return LatentRecord(
        case_id=name,
        split="",
        shape=[*shape],
        affine=grid.tolist(),
        factor=[*model.factor],
        low=values.low,
        high=values.high,
        unit=values.unit,
        weights=codec.weights,
        scan="",
        precision=codec.runner.precision.name,
    )


def _grid(spacing: Sequence[float], axes: int) -> NDArray[np.float64]:
    """Return the affine of a grid whose first voxel is at the origin."""
    if len(spacing) != axes:
        raise ConfigError(f"spacing must be {axes} numbers, got {[*spacing]}")
    # A 3D affine maps (d, h, w) to RAS, the reverse order; images keep their own order.
    order = range(axes)[::-1] if axes == 3 else range(axes)
    grid = np.eye(axes + 1)
    grid[:axes, :axes] = np.diag(spacing)[list(order)]
    return grid


def _range(contract: InputContract, given: Sequence[float] | None) -> IntensityRange:
    """Return the values that [-1, 1] is decoded to."""
    intensity = contract.intensity
    if given is not None:
        low, high = given
        return IntensityRange(float(low), float(high), intensity.unit if intensity else "")
    if intensity is None:
        raise RunError("the weights hold no intensity contract: set range=[low,high]")
    if intensity.kind != "window":
        raise ConfigError(
            "these weights were trained with a range for each scan: set range=[low,high], or "
            "like=SCAN for the range of a scan"
        )
    return IntensityRange(intensity.low, intensity.high, intensity.unit)
