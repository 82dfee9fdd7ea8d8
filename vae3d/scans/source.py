"""`CaseSource`: where volumes come from."""

from dataclasses import dataclass, field

from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract
from vae3d.values.splits import Splits, case_rank, split_as_assigned, split_by_rank


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
