"""`RunData`: the data of a run, some of whose settings are replaced."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from vae3d.bounds import PATH, Between, LowHigh, OneOf, PerAxis
from vae3d.data.case_config import (
    CHANNEL,
    CHECKS,
    COUNT,
    GIB,
    GROUP,
    MILLIMETRES,
    NONFINITE,
    ON_ERROR,
    PATTERN,
    CaseData,
    DataConfig,
    PreparableData,
)
from vae3d.runtime.choices import LABEL_MAPS


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
