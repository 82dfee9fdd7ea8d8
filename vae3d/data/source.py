"""`CaseSource`: where volumes come from; `DataConfig`: what all of them share."""

import math
from dataclasses import dataclass, field
from typing import Any

from vae3d.data.intensity import IntensityContract
from vae3d.data.splits import Splits, case_rank, split_as_assigned, split_by_rank
from vae3d.data.volume import Volume
from vae3d.errors import ConfigError

ON_ERROR = ("fail", "skip")
NONFINITE = ("fail", "fill")
CODEC_NAMES = ("lz4", "zstd", "none")


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
    store: str | None = None


@dataclass
class CaseData(DataConfig):
    """What every kind of data has.

    `val_fraction` and `test_fraction` of the cases are held out where no list assigns them.
    `on_error` says what a scan that cannot be used does: stop, or be counted and left out; while
    a training runs, patches of others stand for it, up to a share `max_skipped` of the cases.
    `workers` are the loader's processes; one that gives nothing for `timeout` seconds ends the
    command.
    """

    val_fraction: float = 0.1
    test_fraction: float = 0.1
    on_error: str = "fail"
    max_skipped: float = 0.01
    workers: int = 0
    timeout: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_skipped <= 1:
            raise ConfigError(f"data.max_skipped must lie in [0, 1], got {self.max_skipped}")
        for name in ("val_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"data.{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError("data.val_fraction and data.test_fraction leave nothing to train on")
        self._check_choice("on_error", ON_ERROR)
        if self.workers < 0:
            raise ConfigError(f"data.workers must be 0 or more, got {self.workers}")
        if not self.timeout > 0:
            raise ConfigError(f"data.timeout must be above 0 seconds, got {self.timeout}")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in choices:
            raise ConfigError(f"data.{name} must be one of {', '.join(choices)}, got {value!r}")


@dataclass
class SourceData(CaseData):
    """Data that are read from where they come from.

    `nonfinite` says what a NaN or Inf voxel does: stop, or be filled with the scan's lowest
    value. `cache_gib` is the memory for decoded volumes.
    """

    nonfinite: str = "fail"
    cache_gib: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("nonfinite", NONFINITE)
        if not (math.isfinite(self.cache_gib) and self.cache_gib >= 0):
            raise ConfigError(f"data.cache_gib must be 0 or more, got {self.cache_gib}")


@dataclass
class PreparableData(SourceData):
    """Data that can be copied into a store.

    `store` is its folder; auto is one below `stores/` that is found again by what it is a copy
    of, null reads the source itself each time. `codec` compresses it: lz4, zstd (smaller,
    slower), none (fastest).
    """

    store: str | None = None
    codec: str = "lz4"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("codec", CODEC_NAMES)

    def identity(self) -> dict[str, Any]:
        """The settings that decide what a case's voxels are."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What a reader would call these data, in a file name."""
        raise NotImplementedError


@dataclass(frozen=True)
class Stamp:
    """The `mark` of a source is another one when its bytes are; `num_bytes` is how many."""

    mark: str
    num_bytes: int


@dataclass
class CaseSource:
    """Volumes by number, with names and, where a list gives them, their splits.

    `spacing` (D, H, W) in millimetres is what they are resampled to, if they are.
    """

    spatial_dims: int
    contract: IntensityContract
    case_ids: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    spacing: list[float] | None = None

    def read(self, index: int) -> Volume:
        """Volume `index`, in canonical orientation and the scan's own units.

        Raises:
            VolumeError: it cannot be read.
        """
        raise NotImplementedError

    def stamp(self, index: int) -> Stamp:
        """What changes when the volume changes, known without reading it.

        Raises:
            VolumeError: there is nothing to read.
        """
        raise NotImplementedError

    def split(self, val_fraction: float, test_fraction: float) -> Splits:
        """The splits that the list assigns, or by the hash of the names."""
        if any(self.splits):
            return split_as_assigned(self.splits)
        return split_by_rank(map(case_rank, self.case_ids), val_fraction, test_fraction)
