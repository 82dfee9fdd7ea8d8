"""`ScanSource`: scans and images on disk, searched for in a folder or named in a list."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.data.config import ScansConfig
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.formats import case_name, is_scan, suffixes
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.source import CaseSource, Stamp
from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract
from vae3d.values.splits import check_listed_splits

OWN_FOLDERS = ({"store.json", "cases"}, {"config.yaml", "metrics.csv", "weights"})
"""Files that mark a store and a run folder: their arrays and reconstructions are no new scans."""


class ScanSource(CaseSource):
    """The scans of a folder or a list, read on demand."""

    def __init__(self, config: ScansConfig) -> None:
        self.config = config
        axes = config.spatial_dims
        entries = read_list(config) if config.list else search(config.root, suffixes(axes))
        check_listed_splits(
            [entry.case_id for entry in entries], [entry.split for entry in entries]
        )
        super().__init__(
            spatial_dims=axes,
            contract=IntensityContract(config.range_kind, *config.range, unit=config.unit),
            case_ids=[entry.case_id for entry in entries],
            splits=[entry.split for entry in entries],
            spacing=[float(s) for s in config.spacing] if config.spacing else None,
        )
        self.paths = [entry.path for entry in entries]

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
        """Return size and time of modification of the file."""
        try:
            status = self.paths[index].stat()
        except OSError as error:
            raise VolumeError(
                self.paths[index], f"cannot be opened ({error.strerror}); check the path"
            ) from error
        return Stamp(f"{status.st_size}:{status.st_mtime_ns}", status.st_size)


@dataclass(frozen=True)
class Entry:
    """The path, name and, if a list assigns one, split of one scan."""

    path: Path
    case_id: str
    split: str | None = None


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
        return [Entry(folder, case_name(Path(folder.name)))]
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
    return [Entry(path, name) for path, name in zip(scans.values(), ids, strict=True)]


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


def read_list(config: ScansConfig) -> list[Entry]:
    """Read the cases of a CSV (`path,split,case_id` with a header) or JSON (a list of objects).

    Raises:
        DataError: missing, not such a list, or two cases with the same name.
    """
    path = Path(str(config.list)).expanduser()
    base = Path(config.root).expanduser() if config.root else path.parent
    entries = [_entry(row, base, path) for row in _rows(path)]
    if not entries:
        raise DataError(f"data.list: no cases in {path}")
    names = [entry.case_id for entry in entries]
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise DataError(f"data.list: two cases are called {duplicate!r} in {path}; set case_id")
    return entries


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix == ".json" else [*csv.DictReader(text.splitlines())]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"data.list: {path} cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"data.list: {path} must hold a list of objects with a path")
    return rows


def _entry(row: dict[str, Any], base: Path, path: Path) -> Entry:
    if not row.get("path"):
        raise DataError(f"data.list: {path} has a row without a path")
    relative = Path(str(row["path"])).expanduser()
    case_id = row.get("case_id") or case_name(
        relative if not relative.is_absolute() else Path(relative.name)
    )
    return Entry(base / relative, str(case_id), row.get("split") or None)
