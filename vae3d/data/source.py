"""`CaseSource`: where volumes come from; `DataConfig`: what all of them share."""

import math
from dataclasses import dataclass, field

from vae3d.data.intensity import IntensityContract
from vae3d.data.volume import Volume
from vae3d.errors import ConfigError

ON_ERROR = ("fail", "skip")
NONFINITE = ("fail", "fill")


@dataclass
class DataConfig:
    """What `data=` chooses."""


@dataclass
class RunData(DataConfig):
    """The data of the run that is evaluated; what is given here replaces the run's own."""

    root: str | None = None
    list: str | None = None
    channel: int | None = None
    shape: tuple[int, ...] | None = None
    count: int | None = None
    on_error: str | None = None
    nonfinite: str | None = None
    cache_gib: float | None = None


@dataclass
class CaseData(DataConfig):
    """What every kind of data has.

    `val_fraction` and `test_fraction` of the cases are held out where no list assigns them.
    `on_error` says what a scan that cannot be used does: stop, or be counted and left out.
    `nonfinite` says what a NaN or Inf voxel does: stop, or be filled with the scan's lowest
    value. `cache_gib` is the memory for decoded volumes, `workers` the loader's processes.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    on_error: str = "fail"
    nonfinite: str = "fail"
    cache_gib: float = 4.0
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError("data.val_fraction and data.test_fraction leave nothing to train on")
        for name, choices in (("on_error", ON_ERROR), ("nonfinite", NONFINITE)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"data.{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if self.workers < 0:
            raise ConfigError(f"data.workers must be 0 or more, got {self.workers}")
        if not (math.isfinite(self.cache_gib) and self.cache_gib >= 0):
            raise ConfigError(f"data.cache_gib must be 0 or more, got {self.cache_gib}")


@dataclass
class CaseSource:
    """Volumes by number, with names and, where a list gives them, their splits."""

    spatial_dims: int
    contract: IntensityContract
    case_ids: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)

    def read(self, index: int) -> Volume:
        """Volume `index`, in canonical orientation and the scan's own units.

        Raises:
            VolumeError: it cannot be read.
        """
        raise NotImplementedError
