"""`Outputs`: the files that a command makes of cases, none in place of another unasked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import ConfigError, DataError
from vae3d.runtime.distributed import Distributed
from vae3d.scans.files import write_volume
from vae3d.scans.formats import scan_suffix
from vae3d.scans.volume import Volume
from vae3d.values.naming import file_stem


@dataclass(frozen=True)
class Outputs:
    """A folder with a file for each case, or for one case the file itself.

    `existing` says what becomes of a file that is there: `fail`, `skip` or `replace`. `dtype` is
    one of numpy, or `auto` for that of the scan's own file, else float32.
    """

    place: Path
    existing: str
    dtype: str
    spatial_dims: int

    def path(self, name: str) -> Path:
        """The file of a case."""
        if scan_suffix(self.place):
            return self.place
        return self.place / f"{file_stem(name)}{'.nii.gz' if self.spatial_dims == 3 else '.tiff'}"

    def due(self, names: Sequence[str], distributed: Distributed) -> list[str]:
        """The cases of this rank that are to be made; every rank must ask, before any writes.

        Raises:
            DataError: a file is there already.
            ConfigError: one file for several cases.
        """
        if scan_suffix(self.place) and len(names) > 1:
            raise ConfigError(f"output={self.place} is one file for {len(names)}; name a folder")
        there = {name for name in names if self.path(name).exists()}
        # Not before all have looked: a rank that is ahead makes files.
        distributed.barrier()
        if there and self.existing == "fail":
            raise DataError(
                f"{self.path(min(there))}: is there already; existing=skip leaves such files, "
                "existing=replace makes them anew"
            )
        todo = [name for name in names if self.existing != "skip" or name not in there]
        return todo[distributed.rank :: distributed.world]

    def write(self, volume: Volume, name: str) -> Path:
        """Writes the volume of a case on its scan's own grid; gives the path."""
        path = self.path(name)
        write_volume(volume, path, dtype="source" if self.dtype == "auto" else self.dtype)
        return path
