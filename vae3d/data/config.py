"""The settings of every kind of data, selected with `data=`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar

from vae3d.bounds import (
    CODE,
    PATH,
    Above,
    AtLeast,
    Between,
    LowHigh,
    OneOf,
    PerAxis,
    Settings,
    Text,
)
from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.runtime.choices import LABEL_MAPS, READERS, RESAMPLINGS, SPLIT_RULES, parse_part
from vae3d.runtime.registry import Registry

ON_ERROR = ("fail", "skip")
NONFINITE = ("fail", "fill")
CHECKS = ("auto", "fail", "warn", "off")
CODECS = ("lz4", "zstd", "none")
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
class RunData(DataConfig):
    """The data of the run; a key that is set here replaces the run's own."""

    root: Annotated[str | None, PATH] = None
    """Folder of other scans, or a single scan; null keeps the run's own."""
    include: Annotated[list[str], PATTERN] = field(default_factory=list)
    """Patterns of scans below data.root, as for training; an empty list keeps the run's own."""
    exclude: Annotated[list[str], PATTERN] = field(default_factory=list)
    """Patterns of scans below data.root that are left out; an empty list keeps the run's own."""
    label_maps: Annotated[str | None, OneOf(*LABEL_MAPS)] = None
    """Leave out or keep label maps below data.root; null keeps the run's own."""
    list: Annotated[str | None, PATH] = None
    """CSV or JSON list of other scans, with paths relative to data.root if it is given, else to
    the list; null keeps the run's own."""
    group: Annotated[str | None, GROUP] = None
    """Rule for the cases of one patient, as for training; null keeps the run's own."""
    channel: Annotated[int | None, CHANNEL] = None
    """Component of 4D, RGB or complex scans; null keeps the run's own."""
    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Values [low, high] that become [-1, 1] instead of those of the weights, with
    allow=[window]."""
    percentiles: Annotated[tuple[float, ...] | None, LowHigh((0, 100))] = None
    """Percentiles [low, high] that become [-1, 1] instead of those of the weights, with
    allow=[percentiles]."""
    spacing: Annotated[Any, MILLIMETRES] = None
    """Millimetres per voxel instead of those of the weights, with allow=[spacing]."""
    voxel: Annotated[Any, MILLIMETRES] = None
    """Millimetres per voxel (depth, height, width) of .npy files, which hold none; null keeps the
    run's own."""
    shape: Annotated[Any, PerAxis(Between(1, 1024), axes=(2, 3), expand=True, nullable=True)] = (
        None
    )
    """Shape of phantoms in voxels, for runs on phantoms; null keeps the run's own."""
    count: Annotated[int | None, COUNT] = None
    """Number of phantoms, for runs on phantoms; null keeps the run's own."""
    on_error: Annotated[str | None, OneOf(*ON_ERROR)] = None
    """Stop at a scan that cannot be used, or skip it and count it; null keeps the run's own."""
    nonfinite: Annotated[str | None, OneOf(*NONFINITE)] = None
    """Refuse NaN and infinite voxels, or fill them with the scan's lowest value; null keeps the
    run's own."""
    check: Annotated[str | None, OneOf(*CHECKS)] = None
    """What happens if values do not fit the intensity range; null keeps the run's own."""
    cache_gib: Annotated[float | None, GIB] = None
    """GiB of memory for decoded volumes where there is no store; null keeps the run's own."""
    store: Annotated[str | None, PATH] = None
    """Folder of the prepared copy; null keeps the run's own."""

    def given(self) -> dict[str, Any]:
        """Return the values that replace the run's own."""
        return {name: v for name, v in super().given().items() if v not in (None, [])}

    def for_run(self, trained: "DataConfig", values: Mapping[str, Any]) -> "CaseData":
        """Return the run's own cases, with what was given replaced.

        Other voxels need another store than the one that the run was trained from.
        """
        given = self.given()
        if "root" in given:
            # A new root means other scans: the run's list does not apply to them.
            given.setdefault("list", None)
        elif "list" in given:
            # Paths of another list are relative to it: the run's root does not apply to them.
            given.setdefault("root", None)
        data = trained.updated(given)
        if isinstance(data, PreparableData) and isinstance(trained, PreparableData):
            same = data.identity() == trained.identity() and data.nonfinite == trained.nonfinite
            if not same and "store" not in given and trained.store is not None:
                return replace(data, store="auto")
        return data


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

    @property
    def opener(self) -> str:
        """The function that opens a finished store."""
        return "vae3d.data.stored:open_store"


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
    """Compression of the store: zstd is a sixth smaller and half as fast as lz4, none is the
    fastest."""

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
class ScansConfig(PreparableData):
    """Scans in a folder or in a list.

    `range_kind` is that of the intensity contract; the field that is called like it holds its
    limits. `default_unit` is the unit of the values where `unit` is None.
    """

    source: ClassVar[str] = "vae3d.data.scan_source:ScanSource"
    spatial_dims: ClassVar[int] = 3
    range_kind: ClassVar[str] = "window"
    default_unit: ClassVar[str] = "a.u."
    recorded: ClassVar[tuple[str, ...]] = ("split_rule", "label_maps", "resampling", "reader")

    root: Annotated[str | None, PATH] = None
    """Folder searched for scans, or a single scan; paths in a list are relative to it."""
    include: Annotated[list[str], PATTERN] = field(default_factory=list)
    """Scans below data.root to read, by patterns such as '*/ct.nii.gz' for a path, the name of a
    file or of a folder; an empty list reads all but label maps."""
    exclude: Annotated[list[str], PATTERN] = field(default_factory=list)
    """Scans below data.root to leave out, by patterns as in data.include."""
    label_maps: Annotated[str | None, OneOf(*LABEL_MAPS)] = None
    """Leave out or keep files below data.root that are label maps by their names and their values;
    null is leave_out, and keep for runs of earlier versions."""
    list: Annotated[str | None, PATH] = None
    """CSV or JSON list of the scans, with path and optionally split (train, val, test), case_id
    and group; datalists of MONAI and dataset.json of nnU-Net too."""
    group: Annotated[str | None, GROUP] = None
    """What the scans of one patient have in common, to keep them in one split: a column of the
    list, subject for BIDS names (sub-01), or a pattern with one group in parentheses that is
    searched for in the path below data.root; null uses the list's column group."""
    channel: Annotated[int | None, CHANNEL] = None
    """Component of scans that have several (4D, RGB, complex), counted from 0."""
    spacing: Annotated[Any, MILLIMETRES] = None
    """Millimetres per voxel (depth, height, width) to resample to, one number or three; null keeps
    the scan's own."""
    voxel: Annotated[Any, MILLIMETRES] = None
    """Millimetres per voxel (depth, height, width) of .npy files, which hold none; null counts
    them as 1 mm where nothing is resampled."""
    resampling: Annotated[str | None, OneOf(*RESAMPLINGS)] = None
    """How scans become coarser: filtered is the mean over each new voxel, linear samples at points
    and may alias; null is filtered, and linear for runs of earlier versions."""
    reader: Annotated[int | None, Between(READERS[0], READERS[-1])] = None
    """Version of the readers of scans: 1 takes the numbers of NIfTI headers for mm and .npy voxels
    for 1 mm; null is the newest, and 1 for runs of earlier versions."""
    unit: Annotated[str | None, UNIT] = None
    """Unit of the values, as in data.unit=g/cm3; null is HU for ct, else a.u. (arbitrary)."""
    store: Annotated[str | None, PATH] = "auto"
    """Folder of the compressed copy that patches are read from; auto is one below stores/, null
    reads the scans each time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.list is not None and (self.include or self.exclude):
            raise ConfigError(
                "data.include and data.exclude choose among the scans of a folder, but data.list "
                f"names its own: remove them, or lines of {self.list}"
            )
        check_unit(self.unit)
        pattern = self.group_pattern
        if pattern is not None and pattern.groups != 1:
            raise ConfigError(
                f"data.group={self.group}: a pattern needs one group in parentheses, as in "
                f"'^([^/]+)/', got {pattern.groups}; write (?:...) for the others"
            )

    @property
    def group_pattern(self) -> re.Pattern[str] | None:
        """The regular expression that `group` is, or None if it is none.

        Raises:
            ConfigError: it is no valid regular expression.
        """
        if self.group is None or not re.search(r"[^\w\s-]", self.group):
            return None
        try:
            return re.compile(self.group)
        except re.error as error:
            raise ConfigError(
                f"data.group={self.group}: not a valid regular expression ({error}); expected "
                "a column of the list, subject, or a pattern such as '^([^/]+)/'"
            ) from error

    def updated(self, values: dict[str, Any]) -> "CaseData":
        """Return a copy with other values; what was for a list or a folder that is left ends."""
        if values.get("list") is not None:
            values = {"include": [], "exclude": [], **values}
        column = self.group not in (None, "subject") and self.group_pattern is None
        if column and "list" in values and values["list"] is None:
            values = {"group": None, **values}
        return super().updated(values)

    def for_run(self, trained: "DataConfig", values: Mapping[str, Any]) -> "CaseData":
        """Return these scans, resampled to the spacing of the weights."""
        return self if self.spatial_dims == 2 else replace(self, spacing=values["spacing"])

    @property
    def range(self) -> tuple[float, float] | None:
        """The limits [low, high] of the intensity contract, None for those of the bit depth."""
        limits: tuple[float, float] | None = getattr(self, self.range_kind)
        return limits

    @property
    def values_unit(self) -> str:
        """The unit of the intensity contract."""
        return self.unit or self.default_unit

    def identity(self) -> dict[str, Any]:
        """Return where the scans are and how their voxels are chosen."""

        def resolved(path: str | None) -> str | None:
            return path and str(user_path(path).resolve())

        # Stores of earlier versions do not name these.
        later = {
            "include": [*self.include],
            "exclude": [*self.exclude],
            "voxel": self.voxel and [float(s) for s in self.voxel],
            "resampling": self.spacing and self.resampling != RESAMPLINGS[0] and RESAMPLINGS[-1],
            "reader": self.reader != READERS[0] and (self.reader or READERS[-1]),
        }
        return {
            "kind": type(self).__name__.removesuffix("Config"),
            "root": resolved(self.root),
            "list": resolved(self.list),
            "channel": self.channel,
            "spacing": self.spacing and [float(s) for s in self.spacing],
            **{key: value for key, value in later.items() if value},
        }

    @property
    def label(self) -> str:
        """The name of the folder or of the list."""
        return user_path(self.list or self.root or "").resolve().name.partition(".")[0]


@dataclass
class CTConfig(ScansConfig):
    """CT in Hounsfield units."""

    default_unit: ClassVar[str] = "HU"

    window: Annotated[tuple[float, ...], LowHigh()] = (-1000.0, 1000.0)
    """Hounsfield units [low, high] that become [-1, 1]; values outside are clipped."""


@dataclass
class MRIConfig(ScansConfig):
    """MR, whose intensity units differ from scan to scan."""

    range_kind: ClassVar[str] = "percentiles"

    percentiles: Annotated[tuple[float, ...], LowHigh((0, 100))] = (0.0, 99.5)
    """Percentiles [low, high] of each scan, in percent, that become [-1, 1]; values outside are
    clipped."""


@dataclass
class Images2DConfig(ScansConfig):
    """Grayscale images."""

    spatial_dims: ClassVar[int] = 2
    recorded: ClassVar[tuple[str, ...]] = (*ScansConfig.recorded, "window")

    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Values [low, high] that become [-1, 1], with values outside clipped; null is all values of
    the files' bit depth, [0,255] or [0,65535]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spacing is not None:
            raise ConfigError("data.spacing resamples 3D scans; images_2d have no spacing")
        if self.voxel is not None:
            raise ConfigError("data.voxel is for 3D scans; pixels of images_2d have no size")


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
