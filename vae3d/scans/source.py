"""`CaseSource`: the interface through which volumes are read from their origin."""

from dataclasses import dataclass, field

from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract
from vae3d.values.splits import Splits, case_rank, split_by_rank, splits_from_list


@dataclass(frozen=True)
class Stamp:
    """The version of a source: `mark` changes with its bytes, `num_bytes` is its size."""

    mark: str
    num_bytes: int


@dataclass
class CaseSource:
    """Volumes by number, with their names and, if a list assigns them, their splits.

    Volumes are resampled to `spacing` (D, H, W) in millimetres, unless it is None.
    """

    spatial_dims: int
    contract: IntensityContract
    case_ids: list[str] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)
    spacing: list[float] | None = None

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

    def split(self, val_fraction: float, test_fraction: float) -> Splits:
        """Return the splits that the list assigns, or else splits by the hash of the names."""
        if any(self.splits):
            return splits_from_list(self.splits)
        return split_by_rank(map(case_rank, self.case_ids), val_fraction, test_fraction)
