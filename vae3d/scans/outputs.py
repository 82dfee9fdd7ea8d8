"""`Outputs`: the files that a command writes, which overwrite nothing by default."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import ConfigError, DataError
from vae3d.files.sole_writer import sole_writer, sole_writer_of_file
from vae3d.files.unfinished import Unfinished
from vae3d.runtime.distributed import Distributed
from vae3d.scans.files import write_volume
from vae3d.scans.formats import scan_suffix
from vae3d.scans.volume import Volume
from vae3d.values.naming import check_file_stems, file_stem

log = logging.getLogger(__name__)


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

    @contextlib.contextmanager
    def claimed(
        self, names: Sequence[str], distributed: Distributed, digest: str
    ) -> Iterator[list[str]]:
        """Lock the place within the context, and yield the cases to write; every rank enters it.

        A command that was killed resumes: the files of one with the same `digest` are kept.

        Raises:
            DataError: a file exists already.
            ConfigError: `place` is one file for several cases.
            LockedError: another process writes there.
        """
        is_file = bool(scan_suffix(self.place))
        if is_file and len(names) > 1:
            raise ConfigError(f"output={self.place} is one file for {len(names)}; name a folder")
        mark = Unfinished.of(self.place, is_file, digest)
        writer = sole_writer_of_file(self.place, mark.path) if is_file else sole_writer(self.place)
        with distributed.entered_by_main(writer):
            check_file_stems(self.place, names)
            due = self._due(names, mark.was_killed)
            # Wait for all ranks to look: a faster rank would create files meanwhile.
            distributed.barrier()
            if distributed.is_main:
                self._report_resumed(len(names) - len(due))
                mark.begin()
            try:
                yield due
            except BaseException:
                if distributed.is_main and not any(self.path(name).exists() for name in names):
                    mark.end()
                raise
        # Last of all: after a kill at any moment before, the same command resumes.
        if distributed.is_main:
            mark.end()

    def _due(self, names: Sequence[str], resumes: bool) -> list[str]:
        existing = {name for name in names if self.path(name).exists()}
        if self.existing == "replace":
            return [*names]
        if existing and self.existing == "fail" and not resumes:
            raise DataError(
                f"{self.path(min(existing))}: exists already; existing=skip keeps such files, "
                "existing=replace overwrites them"
            )
        return [name for name in names if name not in existing]

    def _report_resumed(self, count: int) -> None:
        if count:
            log.info(f"{self.place}: {count} exist already and are kept")

    def write(self, volume: Volume, name: str) -> Path:
        """Write the volume of a case on its scan's own grid; return the path."""
        path = self.path(name)
        write_volume(volume, path, dtype="source" if self.dtype == "auto" else self.dtype)
        return path
