"""`Outputs`: the files that a command writes, which overwrite nothing by default."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import ConfigError
from vae3d.files.sole_writer import sole_writer, sole_writer_of_file
from vae3d.files.unfinished import Origin, OutputRecord
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
        self, inputs: Mapping[str, str], distributed: Distributed, command: str
    ) -> Iterator[list[str]]:
        """Lock the place within the context, and yield the cases to write; every rank enters it.

        `inputs` are digests of what each case is made from, `command` is that of the settings. The
        same command keeps what it wrote before it was killed, but not from an input that changed
        since; if it had finished, no case is left to write.

        Raises:
            DataError: a file exists already.
            ConfigError: `place` is one file for several cases.
            LockedError: another process writes there.
        """
        is_file = bool(scan_suffix(self.place))
        if is_file and len(inputs) > 1:
            raise ConfigError(f"output={self.place} is one file for {len(inputs)}; name a folder")
        record = OutputRecord(self.place, is_file)
        origins = {self.path(name): Origin(command, input_) for name, input_ in inputs.items()}
        also = (record.unfinished.name, record.finished.name)
        writer = sole_writer_of_file(self.place, also) if is_file else sole_writer(self.place)
        with distributed.entered_by_main(writer):
            check_file_stems(self.place, [*inputs])
            plan = record.plan(origins, self.existing)
            # Wait for all ranks to look: a faster rank would create files meanwhile.
            distributed.barrier()
            if distributed.is_main:
                self._report_kept(len(origins) - len(plan.due), len(plan.due))
                record.begin(plan)
            # It removed stale files, which other ranks write again.
            distributed.barrier()
            try:
                due = {*plan.due}
                yield [name for name in inputs if self.path(name) in due]
            except BaseException:
                if distributed.is_main and not any(path.exists() for path in origins):
                    record.drop()
                raise
            distributed.barrier()
            # Last of all: after a kill at any moment before, the same command resumes.
            if distributed.is_main:
                record.end(plan)

    def _report_kept(self, kept: int, due: int) -> None:
        if kept and due:
            log.info(f"{self.place}: {kept} exist already and are kept")
        elif kept:
            way = "; existing=replace writes them again" if self.existing == "fail" else ""
            log.info(f"{self.place}: is finished, {kept} exist already and are kept{way}")

    def write(self, name: str, volume: Volume) -> Path:
        """Write the volume of a case on its scan's own grid; return the path."""
        path = self.path(name)
        write_volume(volume, path, dtype="source" if self.dtype == "auto" else self.dtype)
        return path
