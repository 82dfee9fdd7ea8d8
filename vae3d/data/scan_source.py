"""`ScanSource`: scans and images on disk, searched for in a folder or named in a list."""

import hashlib
import logging
import os

from vae3d.data.config import ScansConfig
from vae3d.errors import VolumeError
from vae3d.lists.entries import read_list
from vae3d.lists.groups import find_groups, patient_hint
from vae3d.lists.search import chosen
from vae3d.runtime.choices import READERS, RESAMPLINGS
from vae3d.scans.depth import depth_window
from vae3d.scans.files import read_volume
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.source import CaseSource, Stamp
from vae3d.scans.volume import Volume
from vae3d.scans.voxel_size import check_voxel_size, with_voxel_size
from vae3d.values.intensity import IntensityContract

log = logging.getLogger(__name__)


class ScanSource(CaseSource):
    """The scans of a folder or a list, read on demand; `key` is the setting that named it."""

    def __init__(self, config: ScansConfig, key: str = "data.root") -> None:
        self.config = config
        config.check_given()
        axes = config.spatial_dims
        entries, left_out = (read_list(config), {}) if config.list else chosen(config, axes, key)
        limits = config.range
        if limits is None:
            limits, sentence = depth_window([entry.path for entry in entries])
            log.info(sentence)
        super().__init__(
            spatial_dims=axes,
            contract=IntensityContract(config.range_kind, *limits, unit=config.values_unit),
            case_ids=[entry.case_id for entry in entries],
            splits=[entry.split for entry in entries],
            groups=find_groups(config, entries),
            spacing=[float(s) for s in config.spacing] if config.spacing else None,
            left_out=left_out,
        )
        self.paths = [entry.path for entry in entries]
        check_voxel_size(self.paths, config.spacing, config.voxel, config.reader)
        self.entries = entries
        self.grouped = bool(config.group) or any(entry.group for entry in entries)

    @property
    def hint(self) -> str | None:
        """A line on patients with several scans that no `data.group` keeps together, or None."""
        keys = [entry.key for entry in self.entries]
        return None if self.grouped else patient_hint(keys, self.splits)

    def read(self, index: int) -> Volume:
        """Read a scan, resampled where `data.spacing` is set."""
        path = self.paths[index]
        config, case_id = self.config, self.case_ids[index]
        reader = config.reader or READERS[-1]
        volume = read_volume(path, channel=config.channel, case_id=case_id, reader=reader)
        if len(volume.shape) != self.spatial_dims:
            raise VolumeError(
                path, f"has {len(volume.shape)} axes where {self.spatial_dims} are needed"
            )
        if config.voxel is not None:
            volume = with_voxel_size(volume, path, config.voxel)
        if config.spacing is None:
            return volume
        resampling = config.resampling or RESAMPLINGS[-1]
        return resample_to_spacing(volume, tuple(config.spacing), resampling)

    def stamp(self, index: int) -> Stamp:
        """Return a hash of the file's path, size, times and inode.

        An archive or `rsync -t` may keep size and time of modification of another file; the time
        of change and the inode are the file system's own.
        """
        try:
            status = self.paths[index].stat()
        except OSError as error:
            raise VolumeError(
                self.paths[index], f"cannot be opened ({error.strerror}); check the path"
            ) from error
        facts = (
            *(os.path.realpath(self.paths[index]), status.st_size, status.st_ino),
            *(status.st_mtime_ns, status.st_ctime_ns),
        )
        mark = hashlib.blake2b(repr(facts).encode(errors="surrogateescape"), digest_size=16)
        return Stamp(mark.hexdigest(), status.st_size)
