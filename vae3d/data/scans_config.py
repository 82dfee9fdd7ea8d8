"""The settings of scans and images in a folder or in a list."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from vae3d.bounds import PATH, Between, LowHigh, OneOf
from vae3d.data.case_config import (
    CHANNEL,
    GROUP,
    MILLIMETRES,
    PATTERN,
    UNIT,
    CaseData,
    DataConfig,
    PreparableData,
    check_unit,
)
from vae3d.errors import ConfigError
from vae3d.files.paths import resolved, user_path
from vae3d.runtime.choices import LABEL_MAPS, READERS, RESAMPLINGS


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

    def check_given(self) -> None:
        """Raise a ConfigError if no scans are named."""
        if self.root is None and not self.list:
            raise ConfigError(
                "data.root must name a folder of scans, or data.list a CSV or JSON file"
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

        def place_of(path: str | None) -> str | None:
            return path and str(resolved(user_path(path)))

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
            "root": place_of(self.root),
            "list": place_of(self.list),
            "channel": self.channel,
            "spacing": self.spacing and [float(s) for s in self.spacing],
            **{key: value for key, value in later.items() if value},
        }

    @property
    def label(self) -> str:
        """The name of the folder or of the list."""
        return resolved(user_path(self.list or self.root or "")).name.partition(".")[0]


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
