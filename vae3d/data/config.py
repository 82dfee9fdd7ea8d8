"""The settings of every kind of data, selected with `data=`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from vae3d.bounds import CODE, PATH, LowHigh
from vae3d.data.case_config import (
    CHANNEL,
    CHECKS,
    COUNT,
    MILLIMETRES,
    NONFINITE,
    ON_ERROR,
    SHAPE,
    UNIT,
    CaseData,
    DataConfig,
    PreparableData,
    SourceData,
    check_unit,
)
from vae3d.data.run_config import RunData
from vae3d.data.scans_config import CTConfig, Images2DConfig, MRIConfig, ScansConfig
from vae3d.errors import ConfigError
from vae3d.runtime.registry import Registry

__all__ = [
    "CHANNEL",
    "CHECKS",
    "DATA",
    "MILLIMETRES",
    "NONFINITE",
    "ON_ERROR",
    "CTConfig",
    "CaseData",
    "CustomConfig",
    "DataConfig",
    "Images2DConfig",
    "MRIConfig",
    "PreparableData",
    "RunData",
    "ScansConfig",
    "SourceData",
    "StoreConfig",
    "SyntheticConfig",
]


@dataclass
class StoreConfig(CaseData):
    """A store that vae3d prepare wrote, opened without its sources."""

    root: Annotated[str | None, PATH] = None
    """Folder of the store; required."""
    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Values [low, high] that become [-1, 1], instead of those the store was prepared with (CT,
    images)."""
    percentiles: Annotated[tuple[float, ...] | None, LowHigh((0, 100))] = None
    """Percentiles [low, high] of each scan that become [-1, 1], instead of those the store was
    prepared with (MR)."""

    def check_given(self) -> None:
        """Raise a ConfigError if no store is named."""
        if self.root is None:
            raise ConfigError("data.root must name a store that vae3d prepare wrote")

    @property
    def opener(self) -> str:
        """The function that opens a finished store."""
        return "vae3d.data.stored:open_store"


@dataclass
class SyntheticConfig(PreparableData):
    """CT-like phantoms generated on the fly, each a function of (seed, index)."""

    source: ClassVar[str] = "vae3d.data.phantoms:PhantomSource"

    shape: Annotated[Any, SHAPE] = (64, 64, 64)
    """Shape in voxels (depth, height, width); two numbers make images, one number a cube."""
    count: Annotated[int, COUNT] = 64
    """Number of phantoms."""
    seed: int = 0
    """Seed of the phantoms; another seed generates other phantoms."""

    def identity(self) -> dict[str, Any]:
        """Return shape and seed of the phantoms."""
        return {"kind": "Phantoms", "shape": [*self.shape], "seed": self.seed}

    @property
    def label(self) -> str:
        """The word phantoms, and their shape."""
        return "phantoms_" + "x".join(map(str, self.shape))


@dataclass
class CustomConfig(SourceData):
    """Any map-style torch Dataset.

    Items are tensors (C, D, H, W) or (C, H, W), or dicts with one under `image` or `volume` and
    optionally its `affine`.
    """

    source: ClassVar[str] = "vae3d.data.custom:named_source"

    dataset: Annotated[str | None, CODE] = None
    """The Dataset as package.module:name; taken from the command line only."""
    options: dict[str, Any] = field(default_factory=dict)
    """Arguments of the Dataset, as in data.options.split=train."""
    window: Annotated[tuple[float, ...], LowHigh()] = (-1.0, 1.0)
    """Values [low, high] of the Dataset's images that become [-1, 1]."""
    unit: Annotated[str | None, UNIT] = None
    """Unit of the values; null is a.u. (arbitrary)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self.unit)

    def for_run(self, trained: "DataConfig", values: Mapping[str, Any]) -> "CaseData":
        """Return the Dataset with the window of the weights."""
        return replace(self, window=values.get("window", self.window))

    def updated(self, values: dict[str, Any]) -> "CaseData":
        """Raise a ConfigError: code to import comes from the command line alone."""
        raise ConfigError(
            "the run was trained on a custom Dataset, which is never taken from a saved file; "
            f"set data=custom data.dataset={self.dataset} if you want to run it"
        )


DATA: Registry[type[DataConfig]] = Registry(
    "data kind",
    {
        "synthetic": "vae3d.data.config:SyntheticConfig",
        "ct": "vae3d.data.config:CTConfig",
        "mri": "vae3d.data.config:MRIConfig",
        "images_2d": "vae3d.data.config:Images2DConfig",
        "store": "vae3d.data.config:StoreConfig",
        "custom": "vae3d.data.config:CustomConfig",
    },
)
"""The options of the group `data`, except `run`, which has no cases of its own."""
