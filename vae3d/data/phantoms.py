"""`data=synthetic`: CT-like phantoms made on the fly, so that a new user needs nothing."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vae3d.data.intensity import IntensityContract
from vae3d.data.source import CaseSource, PreparableData, Stamp
from vae3d.data.synthetic import phantom
from vae3d.data.volume import Volume
from vae3d.errors import ConfigError

FIELD_OF_VIEW = 400.0
"""Millimetres across the longest axis of a phantom."""


@dataclass
class SyntheticConfig(PreparableData):
    """`count` phantoms of `shape` (two numbers make images), each a function of (seed, index)."""

    shape: tuple[int, ...] = (64, 64, 64)
    count: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.shape) not in (2, 3) or any(not 1 <= s <= 1024 for s in self.shape):
            raise ConfigError(
                f"data.shape must be two or three numbers in [1, 1024], got {[*self.shape]}"
            )
        if self.count < 1:
            raise ConfigError(f"data.count must be at least 1, got {self.count}")

    def identity(self) -> dict[str, Any]:
        return {"kind": "Phantoms", "shape": [*self.shape], "seed": self.seed}

    @property
    def label(self) -> str:
        return "phantoms_" + "x".join(map(str, self.shape))


class PhantomSource(CaseSource):
    """Phantoms in HU on a grid of equal spacing."""

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        self.shape = tuple(config.shape)
        super().__init__(
            spatial_dims=len(self.shape),
            contract=IntensityContract("window", -1000.0, 1000.0, unit="HU"),
            case_ids=[f"phantom_{index:04d}" for index in range(config.count)],
            splits=[None] * config.count,
        )

    def read(self, index: int) -> Volume:
        data = torch.from_numpy(phantom(self.shape, self.config.seed, index))[None]
        spacing = FIELD_OF_VIEW / max(self.shape)
        return Volume(data, grid_affine(self.shape, spacing), self.case_ids[index])

    def stamp(self, index: int) -> Stamp:
        return Stamp(f"{self.config.seed}:{index}:{self.shape}", 4 * math.prod(self.shape))


def grid_affine(
    shape: tuple[int, ...], spacing: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A grid of equal spacing around the world's origin, axes D, H, W along z, y, x."""
    dims = len(shape)
    affine = np.eye(dims + 1)
    affine[:dims, :dims] = spacing * np.eye(dims)[::-1]
    affine[:dims, dims] = [-(n - 1) / 2 * spacing for n in reversed(shape)]
    return affine
