"""`ScanSource`: scans and images on disk, searched for in a folder or named in a list."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vae3d.data.config import ScansConfig
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.lists.entries import Entry, read_list
from vae3d.lists.groups import find_groups, patient_hint
from vae3d.scans.files import read_volume
from vae3d.scans.formats import case_name, is_scan, suffixes
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.source import CaseSource, Stamp
from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract

OWN_FOLDERS = ({"store.json", "cases"}, {"config.yaml", "metrics.csv", "weights"})
"""Files that mark a store and a run folder: their arrays and reconstructions are no new scans."""


class ScanSource(CaseSource):
    """The scans of a folder or a list, read on demand."""

    def __init__(self, config: ScansConfig) -> None:
        self.config = config
        axes = config.spatial_dims
        entries = read_list(config) if config.list else search(config.root, suffixes(axes))
        super().__init__(
            spatial_dims=axes,
            contract=IntensityContract(config.range_kind, *config.range, unit=config.unit),
            case_ids=[entry.case_id for entry in entries],
            splits=[entry.split for entry in entries],
            groups=find_groups(config, entries),
            spacing=[float(s) for s in config.spacing] if config.spacing else None,
        )
        self.paths = [entry.path for entry in entries]
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
        volume = read_volume(path, channel=self.config.channel, case_id=self.case_ids[index])
        if len(volume.shape) != self.spatial_dims:
            raise VolumeError(
                path, f"has {len(volume.shape)} axes where {self.spatial_dims} are needed"
            )
        if self.config.spacing is None:
            return volume
        return resample_to_spacing(volume, tuple(self.config.spacing))

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


def search(root: str | None, endings: tuple[str, ...]) -> list[Entry]:
    """Return all scans below the folder `root`, or the one scan that it names.

    A file that several links point to is listed once.

    Raises:
        ConfigError: no `root`.
        DataError: no such folder, or no scan in it.
    """
    if root is None:
        raise ConfigError("data.root must name a folder of scans, or data.list a CSV or JSON file")
    folder = Path(root).expanduser()
    if folder.is_file() and folder.name.lower().endswith(endings):
        name = case_name(folder.name)
        return [Entry(folder, name, name)]
    if not folder.is_dir():
        raise DataError(f"data.root: no such folder or scan: {folder}")
    scans: dict[str, Path] = {}
    for path in sorted(_walk(folder)):
        if path.name.lower().endswith(endings) and is_scan(path):
            # realpath, since Path.resolve raises an error for a link to itself.
            scans.setdefault(os.path.realpath(path), path)
    if not scans:
        raise DataError(f"data.root: no scans ({', '.join(endings)}) found in {folder}")
    for path in scans.values():
        try:
            path.as_posix().encode()
        except UnicodeEncodeError:
            # Reports, lists and catalogs are UTF-8 and could not contain the name.
            raise DataError(
                f"data.root: the name of {path.as_posix()!a} is not UTF-8; rename it"
            ) from None
    names = [path.relative_to(folder) for path in scans.values()]
    clashes = Counter(map(case_name, names))
    # If a.nii and a.nii.gz are in one folder, both keep their suffixes.
    ids = [name.as_posix() if clashes[case_name(name)] > 1 else case_name(name) for name in names]
    return [
        Entry(path, case_id, case_name(name))
        for path, case_id, name in zip(scans.values(), ids, names, strict=True)
    ]


def _walk(folder: Path) -> Iterator[Path]:
    # Visit each real folder once: a link to a folder above itself would never end.
    visited: set[Path] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        if real in visited or any(mark <= {*files, *folders} for mark in OWN_FOLDERS):
            folders.clear()
        else:
            visited.add(real)
            yield from (Path(parent, name) for name in files)
