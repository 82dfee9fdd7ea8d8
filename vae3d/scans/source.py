"""`CaseSource`: the interface through which volumes are read from their origin."""

from dataclasses import dataclass, field
from typing import ClassVar

from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract
from vae3d.values.splits import SplitRule, Splits, case_rank, splits_from_list


@dataclass(frozen=True)
class Stamp:
    """The version of a source: `mark` may change only if it must be read again.

    `num_bytes` is its size.
    """

    mark: str
    num_bytes: int


@dataclass
class CaseSource:
    """Volumes by number, with their names and, if a list assigns them, their splits.

    Cases of one group, such as the scans of one patient, belong in one split; without `groups`
    each case is a group of its own. Volumes are resampled to `spacing` (D, H, W) in millimetres,
    unless it is None. `left_out` has the names of scans that are no cases, and why.
    """

    spatial_dims: int
    contract: IntensityContract
    case_ids: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    spacing: list[float] | None = None
    groups: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    split_kind: ClassVar[str] = "hash"
    """The kind of a split rule that names none."""

    def __post_init__(self) -> None:
        self.groups = self.groups or [*self.case_ids]

    @property
    def hint(self) -> str | None:
        """A line for the user on how the cases might be split better, or None."""
        return None

    def read(self, index: int) -> Volume:
        """Read volume `index`, in canonical orientation and the scan's own units.

        Raises:
            VolumeError: it cannot be read.
        """
        raise NotImplementedError

    def stamp(self, index: int) -> Stamp:
        """Return a stamp that changes when the volume changes, without reading the volume.

        Raises:
            VolumeError: the volume does not exist.
        """
        raise NotImplementedError

    def rank(self, index: int) -> int:
        """Return the rank by which a case is assigned to a split, that of its group."""
        return case_rank(self.groups[index])

    def split(self, rule: SplitRule) -> Splits:
        """Return the splits that the list assigns, or else those of the rule."""
        if any(self.splits):
            return splits_from_list(self.splits)
        return rule.draw(map(self.rank, range(len(self.case_ids))), self.split_kind)
