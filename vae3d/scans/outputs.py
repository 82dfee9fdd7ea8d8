"""`Outputs`: the files that a command writes, which overwrite nothing by default."""

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

    `existing` decides about files that exist: `fail`, `skip` or `replace`. `dtype` is a numpy
    type, or `auto` for the type of the scan's own file, else float32.
    """

    place: Path
    existing: str
    dtype: str
    spatial_dims: int

    def path(self, name: str) -> Path:
        """Return the path of a case's file."""
        if scan_suffix(self.place):
            return self.place
        return self.place / f"{file_stem(name)}{'.nii.gz' if self.spatial_dims == 3 else '.tiff'}"

    def due(self, names: Sequence[str], distributed: Distributed) -> list[str]:
        """Return the cases to write; every rank must call this, before any rank writes.

        Raises:
            DataError: a file exists already.
            ConfigError: `place` is one file for several cases.
        """
        if scan_suffix(self.place) and len(names) > 1:
            raise ConfigError(f"output={self.place} is one file for {len(names)}; name a folder")
        existing = {name for name in names if self.path(name).exists()}
        # Wait for all ranks to look: a faster rank would create files meanwhile.
        distributed.barrier()
        if existing and self.existing == "fail":
            raise DataError(
                f"{self.path(min(existing))}: exists already; existing=skip keeps such files, "
                "existing=replace overwrites them"
            )
        return [name for name in names if self.existing != "skip" or name not in existing]

    def write(self, volume: Volume, name: str) -> Path:
        """Write the volume of a case on its scan's own grid; return the path."""
        path = self.path(name)
        write_volume(volume, path, dtype="source" if self.dtype == "auto" else self.dtype)
        return path
