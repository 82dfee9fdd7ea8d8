"""What `data=` chooses: the settings of every kind of data."""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
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
)
from vae3d.errors import ConfigError
from vae3d.runtime.registry import Registry

ON_ERROR = ("fail", "skip")
NONFINITE = ("fail", "fill")
CODECS = ("lz4", "zstd", "none")
SHAPE = PerAxis(Between(1, 1024), axes=(2, 3), expand=True)
SPACING = PerAxis(Between(0.01, 100), axes=(3,), whole=False, expand=True)
COUNT = AtLeast(1)
CHANNEL = AtLeast(0)
GIB = AtLeast(0)


@dataclass
class DataConfig(Settings, key="data"):
    """The cases of a command.

    `source` is the `module:function` that makes the `CaseSource` of these settings, if they name
    scans of their own.
    """

    source: ClassVar[str] = ""

    @property
    def opener(self) -> str:
        """The `module:function` that opens the cases; see `open_cases`."""
        return ""

    def to_prepare(self) -> "PreparableData":
        """Return these data, if they can be copied into a store.

        Raises:
            ConfigError: they cannot.
        """
        raise ConfigError("data must be synthetic, ct, mri or images_2d to be prepared")

    def for_run(self, trained: "DataConfig", spacing: tuple[float, ...] | None) -> "CaseData":
        """Return the cases for a run trained on `trained`, whose weights expect `spacing` in mm.

        Raises:
            ConfigError: a key does not fit the run's data.
        """
        raise NotImplementedError

    def updated(self, values: dict[str, Any]) -> "CaseData":
        """Return these data with other values for some keys.

        Raises:
            ConfigError: they have no such key.
        """
        raise NotImplementedError


@dataclass
class RunData(DataConfig):
    """The data of the run; what is given here replaces the run's own."""

    root: Annotated[str | None, PATH] = None
    """Folder of other scans, or a single scan; null keeps the run's own."""
    list: Annotated[str | None, PATH] = None
    """CSV or JSON list of other scans; null keeps the run's own."""
    channel: Annotated[int | None, CHANNEL] = None
    """Component of 4D, RGB or complex scans; null keeps the run's own."""
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
    cache_gib: Annotated[float | None, GIB] = None
    """GiB of memory for decoded volumes where there is no store; null keeps the run's own."""
    store: Annotated[str | None, PATH] = None
    """Folder of the prepared copy; null keeps the run's own."""

    def for_run(self, trained: "DataConfig", spacing: tuple[float, ...] | None) -> "CaseData":
        given = {name: value for name, value in asdict(self).items() if value is not None}
        if "root" in given:
            given.setdefault("list", None)
        return trained.updated(given)


@dataclass
class CaseData(DataConfig):
    """What every kind of data has."""

    val_fraction: Annotated[float, Between(0, 1, "[)")] = 0.1
    """Share of the cases held out to choose the best weights, where no list assigns splits."""
    test_fraction: Annotated[float, Between(0, 1, "[)")] = 0.1
    """Share of the cases held out for vae3d eval, where no list assigns splits."""
    on_error: Annotated[str, OneOf(*ON_ERROR)] = "fail"
    """Stop at a scan that cannot be used, or skip it and count it."""
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

    def for_run(self, trained: "DataConfig", spacing: tuple[float, ...] | None) -> "CaseData":
        return self

    def updated(self, values: dict[str, Any]) -> "CaseData":
        known = {entry.name for entry in fields(self)}
        for key, value in values.items():
            if key not in known and value is not None:
                raise ConfigError(
                    f"data.{key} does not fit the run's data ({type(self).__name__})"
                )
        return replace(self, **{k: v for k, v in values.items() if k in known})

    def read_once(self) -> "CaseData":
        """Return these data without a store or a cache, which serve nobody in a single pass."""
        return self


@dataclass
class StoreConfig(CaseData):
    """A store that vae3d prepare made, opened without its sources."""

    root: Annotated[str | None, PATH] = None
    """Folder of the store; must be given."""
    window: Annotated[tuple[float, ...] | None, LowHigh()] = None
    """Values [low, high] that become [-1, 1], instead of those the store was prepared with (CT,
    images)."""
    percentiles: Annotated[tuple[float, ...] | None, LowHigh((0, 100))] = None
    """Percentiles [low, high] of each scan that become [-1, 1], instead of those the store was
    prepared with (MR)."""

    @property
    def opener(self) -> str:
        return "vae3d.data.stored:open_store"


@dataclass
class SourceData(CaseData):
    """Data that are read from where they come from."""

    nonfinite: Annotated[str, OneOf(*NONFINITE)] = "fail"
    """Refuse NaN and infinite voxels, or fill them with the scan's lowest value."""
    cache_gib: Annotated[float, GIB] = 4.0
    """GiB of memory for decoded volumes where there is no store."""

    @property
    def opener(self) -> str:
        return "vae3d.data.loaded:open_loaded"

    def read_once(self) -> "CaseData":
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
        return super().opener if self.store is None else "vae3d.data.prepared:open_prepared"

    def to_prepare(self) -> "PreparableData":
        return self

    def read_once(self) -> "CaseData":
        return replace(self, cache_gib=0.0, store=None)

    def identity(self) -> dict[str, Any]:
        """The settings that decide what a case's voxels are."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What a reader would call these data, in a file name."""
        raise NotImplementedError


@dataclass
class SyntheticConfig(PreparableData):
    """CT-like phantoms made on the fly, each a function of (seed, index)."""

    source: ClassVar[str] = "vae3d.data.phantoms:PhantomSource"

    shape: Annotated[Any, SHAPE] = (64, 64, 64)
    """Shape in voxels (depth, height, width); two numbers make images, one number a cube."""
    count: Annotated[int, COUNT] = 64
    """Number of phantoms."""
    seed: int = 0
    """Seed of the phantoms; another one makes others."""

    def identity(self) -> dict[str, Any]:
        return {"kind": "Phantoms", "shape": [*self.shape], "seed": self.seed}

    @property
    def label(self) -> str:
        return "phantoms_" + "x".join(map(str, self.shape))


@dataclass
class ScansConfig(PreparableData):
    """Scans in a folder or in a list.

    `range_kind` and `unit` are those of their intensity contract, `range` its two numbers.
    """

    source: ClassVar[str] = "vae3d.data.scan_source:ScanSource"
    spatial_dims: ClassVar[int] = 3
    range_kind: ClassVar[str] = "window"
    unit: ClassVar[str] = "intensity"

    root: Annotated[str | None, PATH] = None
    """Folder searched for scans, or a single scan; paths in a list are relative to it."""
    list: Annotated[str | None, PATH] = None
    """CSV or JSON list of the scans, with path and optionally split (train, val, test) and
    case_id."""
    channel: Annotated[int | None, CHANNEL] = None
    """Component of scans that have several (4D, RGB, complex), counted from 0."""
    spacing: Annotated[
        Any, PerAxis(Between(0.01, 100), (3,), whole=False, expand=True, nullable=True)
    ] = None
    """Millimetres per voxel (depth, height, width) to resample to, one number or three; null keeps
    the scan's own."""
    store: Annotated[str | None, PATH] = "auto"
    """Folder of the compressed copy that patches are read from; auto is one below stores/, null
    reads the scans each time."""

    def for_run(self, trained: "DataConfig", spacing: tuple[float, ...] | None) -> "CaseData":
        return self if self.spacing is not None else replace(self, spacing=spacing)

    @property
    def range(self) -> tuple[float, float]:
        """The two numbers [low, high] of the intensity contract."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        def resolved(path: str | None) -> str | None:
            return path and str(Path(path).expanduser().resolve())

        return {
            "kind": type(self).__name__.removesuffix("Config"),
            "root": resolved(self.root),
            "list": resolved(self.list),
            "channel": self.channel,
            "spacing": self.spacing and [float(s) for s in self.spacing],
        }

    @property
    def label(self) -> str:
        return Path(self.list or self.root or "").expanduser().resolve().name.partition(".")[0]


@dataclass
class CTConfig(ScansConfig):
    """CT in Hounsfield units."""

    unit: ClassVar[str] = "HU"

    window: Annotated[tuple[float, ...], LowHigh()] = (-1000.0, 1000.0)
    """Hounsfield units [low, high] that become [-1, 1]; values outside are clipped."""

    @property
    def range(self) -> tuple[float, float]:
        return self.window[0], self.window[1]


@dataclass
class MRIConfig(ScansConfig):
    """MR, whose units differ from scan to scan."""

    range_kind: ClassVar[str] = "percentiles"

    percentiles: Annotated[tuple[float, ...], LowHigh((0, 100))] = (0.0, 99.5)
    """Percentiles [low, high] of each scan, in percent, that become [-1, 1]; values outside are
    clipped."""

    @property
    def range(self) -> tuple[float, float]:
        return self.percentiles[0], self.percentiles[1]


@dataclass
class Images2DConfig(ScansConfig):
    """Grayscale images."""

    spatial_dims: ClassVar[int] = 2

    window: Annotated[tuple[float, ...], LowHigh()] = (0.0, 255.0)
    """Values [low, high] that become [-1, 1]; values outside are clipped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spacing is not None:
            raise ConfigError("data.spacing resamples 3D scans; images_2d have no spacing")

    @property
    def range(self) -> tuple[float, float]:
        return self.window[0], self.window[1]


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

    def updated(self, values: dict[str, Any]) -> "CaseData":
        raise ConfigError(
            "the run was trained on a custom Dataset, which is never taken from a saved file; "
            f"say data=custom data.dataset={self.dataset} if that is what you want to run"
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
"""The options of the group `data` that name cases of their own."""
