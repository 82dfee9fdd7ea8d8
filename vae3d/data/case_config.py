"""What the settings of every kind of data have in common."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar

from vae3d.bounds import PATH, Above, AtLeast, Between, OneOf, PerAxis, Settings, Text
from vae3d.errors import ConfigError
from vae3d.runtime.choices import SPLIT_RULES, parse_part

ON_ERROR = ("fail", "skip")
NONFINITE = ("fail", "fill")
CHECKS = ("auto", "fail", "warn", "off")
CODECS = ("lz4", "lz4_fast", "zstd", "none")
SHAPE = PerAxis(Between(1, 1024), axes=(2, 3), expand=True)
COUNT = AtLeast(1)
CHANNEL = AtLeast(0)
GIB = AtLeast(0)
GROUP = Text("column or pattern")
MILLIMETRES = PerAxis(Between(0.0001, 100), (3,), whole=False, expand=True, nullable=True)
PATTERN = Text("pattern")
UNIT = Text("unit")


def check_unit(unit: str | None) -> None:
    """Raise a ConfigError if a unit is not one short word, as texts and pictures need it."""
    if unit is not None and not re.fullmatch(r"[^\s$\\{}]{1,20}", unit):
        raise ConfigError(
            f"data.unit={unit!r}: must be one word of up to 20 characters, such as HU or g/cm3"
        )


@dataclass
class DataConfig(Settings, key="data"):
    """The cases of a command.

    `source` is the `module:function` that builds the `CaseSource` of these settings. It is empty
    for data without a source of their own.
    """

    source: ClassVar[str] = ""

    @property
    def opener(self) -> str:
        """The `module:function` that opens the cases; see `open_cases`."""
        return ""

    def to_prepare(self) -> "PreparableData":
        """Return these settings, if their data can be copied into a store.

        Raises:
            ConfigError: the data cannot be copied into a store.
        """
        raise ConfigError("data must be synthetic, ct, mri or images_2d to be prepared")

    def for_run(self, trained: "DataConfig", values: Mapping[str, Any]) -> "CaseData":
        """Return the data settings for weights that were trained on `trained`.

        `values` are the settings that the weights need, by key: spacing, channel, window or
        percentiles.

        Raises:
            ConfigError: a key does not fit the run's data.
        """
        raise NotImplementedError

    def keeping(self, recorded: Mapping[str, Any]) -> "DataConfig":
        """Return these settings with what a run recorded, where they are null here."""
        return self

    def lenient(self) -> "DataConfig":
        """Return these settings, with which values that do not fit are never refused."""
        return self

    def updated(self, values: dict[str, Any]) -> "CaseData":
        """Return a copy of these settings with other values for some keys.

        Raises:
            ConfigError: there is no such key.
        """
        raise NotImplementedError


@dataclass
class CaseData(DataConfig):
    """The settings that every kind of data has.

    `recorded` names those that a run records when they are null, since other versions may take
    null for something else.
    """

    recorded: ClassVar[tuple[str, ...]] = ("split_rule",)

    val_fraction: Annotated[float, Between(0, 1, "[)")] = 0.1
    """Share of the cases held out to choose the best weights, where no list assigns splits."""
    test_fraction: Annotated[float, Between(0, 1, "[)")] = 0.1
    """Share of the cases held out for vae3d eval, where no list assigns splits."""
    split_rule: Annotated[str | None, OneOf(*SPLIT_RULES)] = None
    """How cases are held out where no list assigns splits: hash keeps the split of a case when
    others come or go, count gives each split its exact share; null is hash, and count for phantoms
    and for runs of earlier versions."""
    fold: str | None = None
    """Part K/N of a cross-validation, as in fold=0/5: part K of N is held out as test cases; null
    holds out test_fraction."""
    on_error: Annotated[str, OneOf(*ON_ERROR)] = "fail"
    """Stop at a scan that cannot be used, or skip it and count it."""
    check: Annotated[str, OneOf(*CHECKS)] = "auto"
    """If values do not fit the intensity range: auto refuses what cannot be right and warns of the
    rest, fail refuses both, warn only warns, off does not check."""
    max_skipped: Annotated[float, Between(0, 1)] = 0.01
    """Largest share of the training cases that may become unreadable while a training runs, with
    on_error=skip."""
    workers: Annotated[int, AtLeast(0)] = 0
    """Loader processes; 0 loads in the main process, which is enough for a store."""
    timeout: Annotated[float, Above(0)] = 300.0
    """Seconds that a loader process may take for a batch before the command ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError("data.val_fraction and data.test_fraction leave nothing to train on")
        if self.fold is not None:
            parse_part(self.fold, "data.fold")

    def keeping(self, recorded: Mapping[str, Any]) -> "CaseData":
        """Return these settings with what a run recorded, where they are null here."""
        missing = [name for name in self.recorded if getattr(self, name) is None]
        values: dict[str, Any] = {name: recorded.get(name) for name in missing}
        return replace(self, **values)

    def for_run(self, trained: "DataConfig", values: Mapping[str, Any]) -> "CaseData":
        """Return these cases: they are named in full."""
        return self

    def updated(self, values: dict[str, Any]) -> "CaseData":
        """Return a copy with other values; a key that these data do not have is refused."""
        names = {entry.name for entry in fields(self)}
        for key, value in values.items():
            if key not in names and value is not None:
                raise ConfigError(
                    f"data.{key} does not fit the run's data ({type(self).__name__})"
                )
        return replace(self, **{k: v for k, v in values.items() if k in names})

    def lenient(self) -> "CaseData":
        """Return a copy with which values that do not fit are never refused."""
        return self if self.check == "off" else replace(self, check="warn")

    def read_once(self) -> "CaseData":
        """Return a copy without a store or a cache, which do not help in a single pass."""
        return self


@dataclass
class SourceData(CaseData):
    """Data that are read from their source."""

    nonfinite: Annotated[str, OneOf(*NONFINITE)] = "fail"
    """Refuse NaN and infinite voxels, or fill them with the scan's lowest value."""
    cache_gib: Annotated[float, GIB] = 4.0
    """GiB of memory for decoded volumes where there is no store."""

    @property
    def opener(self) -> str:
        """The function that reads cases when they are asked for."""
        return "vae3d.data.loaded:open_loaded"

    def read_once(self) -> "CaseData":
        """Return these data without a cache."""
        return replace(self, cache_gib=0.0)


@dataclass
class PreparableData(SourceData):
    """Data that can be copied into a store."""

    store: Annotated[str | None, PATH] = None
    """Folder of the compressed copy that patches are read from; auto is one below stores/, null
    reads the source each time."""
    codec: Annotated[str, OneOf(*CODECS)] = "lz4"
    """Compression of the store: lz4_fast is written two to five times as fast as lz4 and read 0.8
    times as fast, zstd is a sixth smaller and read a third as fast, none is read the fastest."""

    @property
    def opener(self) -> str:
        """The function that prepares a store, or reads the cases where `store` is null."""
        return super().opener if self.store is None else "vae3d.data.stored:open_prepared"

    def to_prepare(self) -> "PreparableData":
        """Return these data."""
        return self

    def read_once(self) -> "CaseData":
        """Return these data without a store and a cache."""
        return replace(self, cache_gib=0.0, store=None)

    def identity(self) -> dict[str, Any]:
        """Return the settings on which the voxels of a case depend, as plain values."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """A short name of these data, for file names."""
        raise NotImplementedError
