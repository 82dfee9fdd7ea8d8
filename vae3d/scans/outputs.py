"""`Outputs`: the files that a command writes, which overwrite nothing by default."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import ConfigError, DataError
from vae3d.files.sole_writer import sole_writer, sole_writer_of_file
from vae3d.files.unfinished import ABSENT, FOREIGN, KEPT, STALE, Origin, OutputRecord
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
        origins = {name: Origin(command, input_) for name, input_ in inputs.items()}
        also = (record.unfinished.name, record.finished.name)
        writer = sole_writer_of_file(self.place, also) if is_file else sole_writer(self.place)
        with distributed.entered_by_main(writer):
            check_file_stems(self.place, [*inputs])
            found = {name: record.state(self.path(name), o) for name, o in origins.items()}
            due = self._due(found)
            # Wait for all ranks to look: a faster rank would create files meanwhile.
            distributed.barrier()
            own = [name for name in origins if name in due or found[name] == KEPT]
            if distributed.is_main:
                self._report_kept(len(inputs) - len(due), len(due))
                for name in (n for n in due if found[n] == STALE and self.existing == "fail"):
                    self.path(name).unlink()
                # A file that is replaced is none of this command until it is written.
                begun = [n for n in own if found[n] == KEPT or not self.path(n).exists()]
                record.begin({self.path(name): origins[name] for name in begun})
            try:
                yield due
            except BaseException:
                if distributed.is_main and not any(self.path(name).exists() for name in inputs):
                    record.drop()
                raise
            distributed.barrier()
            # Last of all: after a kill at any moment before, the same command resumes.
            if distributed.is_main:
                record.end({self.path(name): origins[name] for name in own})

    def _due(self, found: Mapping[str, str]) -> list[str]:
        """Return the cases to write, of all with what is known of their files."""
        if self.existing == "replace":
            return [*found]
        foreign = [name for name, state in found.items() if state == FOREIGN]
        if foreign and self.existing == "fail":
            raise DataError(
                f"{self.path(min(foreign))}: exists already; existing=skip keeps such files, "
                "existing=replace overwrites them"
            )
        redone = (ABSENT, STALE) if self.existing == "fail" else (ABSENT,)
        return [name for name, state in found.items() if state in redone]

    def _report_kept(self, kept: int, due: int) -> None:
        if kept and due:
            log.info(f"{self.place}: {kept} exist already and are kept")
        elif kept:
            way = "; existing=replace writes them again" if self.existing == "fail" else ""
            log.info(f"{self.place}: is finished, {kept} exist already and are kept{way}")

    def write(self, volume: Volume, name: str) -> Path:
        """Write the volume of a case on its scan's own grid; return the path."""
        path = self.path(name)
        write_volume(volume, path, dtype="source" if self.dtype == "auto" else self.dtype)
        return path
