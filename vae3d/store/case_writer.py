"""`CaseWriter`: read one scan, check it, and write its array into a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import DataError, ResourceError, VolumeError
from vae3d.files.atomic import file_digest
from vae3d.runtime.memory import GIB, gib
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume, checked
from vae3d.store.arrays import array_file, write_array
from vae3d.store.catalog import CaseRecord
from vae3d.store.settings import StoreSettings
from vae3d.system.abilities import free_bytes
from vae3d.system.limits import limit_reached
from vae3d.values.voxel_statistics import VoxelStatistics

RESERVE = GIB // 4
"""Bytes of the disk that are left free."""


@dataclass(frozen=True)
class CaseWriter:
    """Writes the cases of a source into the store in `folder`; threads may share it."""

    source: CaseSource
    settings: StoreSettings
    folder: Path

    def write(self, index: int, stamp: str) -> CaseRecord:
        """Write one case and return its record; one that cannot be read has an `error`.

        `stamp` is that of its source.

        Raises:
            DataError: the disk is full, or the file cannot be written.
        """
        case_id = self.source.case_ids[index]
        try:
            volume, filled = checked(self.source.read(index), self.settings.nonfinite)
            statistics = VoxelStatistics.of(volume.data.numpy(), filled)
            contract = self.source.contract
            range_ = contract.range_from_statistics(
                statistics, volume.case_id
            ) or contract.range_of(volume.data.numpy(), volume.case_id)
        except VolumeError as error:
            return CaseRecord(case_id, error.path, stamp, error=error.reason)
        file = array_file(case_id, self.settings.codec)
        num_bytes, digest, sums = self._write(self.folder / file, volume)
        return CaseRecord(
            case_id=case_id,
            source=volume.origin,
            stamp=stamp,
            file=file,
            num_bytes=num_bytes,
            digest=digest,
            dtype=str(volume.data.numpy().dtype),
            channels=len(volume.data),
            shape=volume.shape,
            affine=tuple(map(tuple, volume.affine.tolist())),
            geometry=volume.source,
            statistics=statistics,
            box=foreground_box(volume.data[0].numpy(), range_.foreground),
            identity=volume.identity,
            sums=sums,
        )

    def _write(self, path: Path, volume: Volume) -> tuple[int, str, int]:
        data = volume.data.numpy()
        free = free_bytes(self.folder)
        if free is not None and free < data.nbytes + RESERVE:
            raise DataError(
                f"{self.folder}: the disk is full ({gib(free)} are free); make room and run the "
                "same command again to resume"
            )
        try:
            sums = write_array(path, data, self.settings.codec)
        except (OSError, RuntimeError, UnicodeError) as error:
            if reason := limit_reached(error):
                raise ResourceError(f"{path}: {reason}; the same command resumes") from error
            raise DataError(f"{path}: cannot be written ({error})") from error
        return path.stat().st_size, file_digest(path), sums


def foreground_box(
    image: NDArray[Any], threshold: float
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return corner and size of the box around all voxels above the threshold, or None."""
    inside = image > threshold
    sides = []
    for axis in range(image.ndim):
        others = tuple(other for other in range(image.ndim) if other != axis)
        hits = np.flatnonzero(inside.any(axis=others))
        if not hits.size:
            return None
        sides.append((int(hits[0]), int(hits[-1] - hits[0] + 1)))
    corner, size = zip(*sides, strict=True)
    return corner, size
