"""The store: a compressed array a case, in blocks, from which a patch is read in a moment."""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import blosc2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.cases import Case, Cases
from vae3d.data.catalog import CaseRecord, Catalog
from vae3d.data.config import CaseData
from vae3d.data.foreground import SIDE, ForegroundMap
from vae3d.data.intensity import IntensityContract, IntensityRange
from vae3d.data.splits import Splits
from vae3d.data.volume import Volume, spacing_of
from vae3d.errors import DataError, VolumeError
from vae3d.patching.region import Region
from vae3d.runtime.files import atomic_write

CATALOG, SETTINGS = "catalog.sqlite", "store.json"
MAX_OPEN = 64
"""Arrays that a process keeps open: each costs a few pages of its file and a descriptor."""

CODECS: dict[str, dict[str, Any] | None] = {
    "lz4": {"codec": blosc2.Codec.LZ4HC, "clevel": 5, "filters": [blosc2.Filter.SHUFFLE]},
    "zstd": {"codec": blosc2.Codec.ZSTD, "clevel": 1, "filters": [blosc2.Filter.SHUFFLE]},
    "none": None,
}
"""How voxels are compressed: fast, small (a sixth less, at half the speed), or not at all."""
CHUNK, BLOCK = 64, 16
"""Voxels along each axis of what is stored together, and of what is decompressed at once."""
_MAP = "foreground"


@dataclass(frozen=True)
class StoreSettings:
    """What a store is a copy of, and how it was made; `contract` is only a default for readers.

    `source` names the scans: kind, root, list, channel, spacing.
    """

    source: dict[str, Any]
    nonfinite: str
    codec: str
    spatial_dims: int
    contract: dict[str, Any]
    format: int = 1

    @classmethod
    def read(cls, folder: Path) -> "StoreSettings":
        """Those of a store.

        Raises:
            DataError: there is none, or a newer one.
        """
        path = folder / SETTINGS
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DataError(f"{folder}: no store here ({SETTINGS} is missing)") from None
        except (OSError, TypeError, ValueError) as error:
            raise DataError(f"{path}: damaged ({error}); prepare anew") from error
        if found.format != cls.format:
            raise DataError(f"{path}: format {found.format} is not {cls.format}; prepare anew")
        return found

    def identity(self) -> dict[str, Any]:
        """What two stores of the same voxels share, as plain values."""
        values = asdict(self)
        del values["contract"]
        return cast("dict[str, Any]", json.loads(json.dumps(values)))

    def fingerprint(self) -> str:
        """Ten letters that change with the identity."""
        told = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:10]


def array_suffix(codec: str) -> str:
    """The suffix of an array's file."""
    return ".npy" if CODECS[codec] is None else ".b2nd"


def write_array(path: Path, data: NDArray[Any], codec: str) -> None:
    """Writes an image (C, *shape) and its foreground map as one file, whole or not at all."""
    maxima = ForegroundMap.of(data[0]).maxima
    data = np.ascontiguousarray(data)
    settings = CODECS[codec]
    with atomic_write(path) as temporary:
        if settings is None:
            with temporary.open("wb") as file:
                np.save(file, data, allow_pickle=False)
                np.save(file, maxima, allow_pickle=False)
            return
        chunks = (1, *(min(CHUNK, n) for n in data.shape[1:]))
        array = blosc2.asarray(
            data,
            chunks=chunks,
            blocks=tuple(min(BLOCK, n) for n in chunks),
            cparams=blosc2.CParams(**settings, typesize=data.itemsize, nthreads=1),
            urlpath=str(temporary),
            mode="w",
        )
        array.schunk.vlmeta[_MAP] = maxima.tobytes()


def open_array(path: Path) -> tuple[Any, NDArray[Any]]:
    """An image (C, *shape) that reads only what is cut out of it, and its foreground map.

    Raises:
        VolumeError: missing, or no such file.
    """
    try:
        if path.suffix == ".npy":
            voxels = np.load(path, mmap_mode="r", allow_pickle=False)
            with path.open("rb") as file:
                file.seek(voxels.offset + voxels.nbytes)
                return voxels, np.load(file, allow_pickle=False)
        array = blosc2.open(str(path), mode="r", mmap_mode="r", dparams=blosc2.DParams(nthreads=1))
        if not isinstance(array, blosc2.NDArray):
            raise ValueError("it holds no array")
        maxima = np.frombuffer(array.schunk.vlmeta[_MAP], array.dtype)
        return array, maxima.reshape([-(-n // SIDE) for n in array.shape[1:]])
    except (RuntimeError, ValueError, OSError, KeyError, EOFError) as error:
        raise VolumeError(path, f"cannot be read ({error}); prepare the store anew") from error


class StoredCase(Case):
    """A case of a store; its voxels stay on disk."""

    def __init__(self, folder: Path, record: CaseRecord, contract: IntensityContract) -> None:
        self.record = record
        self.case_id = record.case_id
        self.channels = record.channels
        self.shape = record.shape
        self.spacing = spacing_of(np.array(record.affine, np.float64))
        self.contract = contract
        self.geometry = record.geometry
        assert record.statistics is not None
        self.statistics = record.statistics
        self.path = folder / str(record.file)
        self._array, maxima = open_array(self.path)
        self.foreground = ForegroundMap(maxima)
        expected = (record.channels, *record.shape), np.dtype(record.dtype)
        if (self._array.shape, self._array.dtype) != expected:
            raise VolumeError(self.path, "is not what the catalog says; prepare the store anew")

    @cached_property
    def range(self) -> IntensityRange:  # type: ignore[override]
        return self.contract.range_known(self.statistics, self.case_id) or self.contract.range_of(
            self.volume()
        )

    def volume(self) -> Volume:
        return Volume(
            data=self.cut(Region((0,) * len(self.shape), self.shape)),
            affine=np.array(self.record.affine, np.float64),
            case_id=self.case_id,
            source=self.record.geometry,
        )

    def cut(self, region: Region) -> Tensor:
        stop = tuple(
            min(c + s, n) for c, s, n in zip(region.corner, region.size, self.shape, strict=True)
        )
        box = (slice(None), *(slice(a, b) for a, b in zip(region.corner, stop, strict=True)))
        try:
            voxels = self._array[box]
        except (RuntimeError, ValueError, OSError) as error:
            raise VolumeError(self.path, f"is damaged ({error}); prepare it anew") from error
        # blosc2 has decompressed into memory of its own; what numpy maps must be copied.
        return torch.from_numpy(np.array(voxels) if isinstance(voxels, np.memmap) else voxels)


class StoredCases(Cases):
    """The cases of a store, known from its catalog; opened when they are asked for."""

    def __init__(
        self, folder: Path, config: CaseData, contract: IntensityContract | None = None
    ) -> None:
        settings = StoreSettings.read(folder)
        own = IntensityContract(**settings.contract)
        super().__init__(config, settings.spatial_dims, contract or own)
        self.folder = folder
        self.spacing = settings.source.get("spacing")
        self.catalog = Catalog(folder / CATALOG)
        self._opened: OrderedDict[int, StoredCase] = OrderedDict()
        self._process = os.getpid()

    @cached_property
    def splits(self) -> Splits:
        return self.catalog.split(self.config.val_fraction, self.config.test_fraction)

    @cached_property
    def failures(self) -> dict[int, VolumeError]:
        """What is wrong with the cases that could not be prepared."""
        return {
            number: VolumeError(source, reason)
            for number, source, reason in self.catalog.failures()
        }

    def num_bytes(self) -> int:
        """What the store's arrays take on disk."""
        return sum((self.folder / file).stat().st_size for file in self.catalog.files())

    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        if not self.failures:
            return {}
        members = set(self.splits[split].tolist())
        return {number: error for number, error in self.failures.items() if number in members}

    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        return self.catalog.shapes(indices)

    def case_id(self, index: int) -> str:
        return self.catalog.case_id(index)

    def fingerprint(self, indices: NDArray[np.int64]) -> str:
        known = self.catalog.fingerprint.encode() + indices.tobytes()
        return hashlib.sha256(known).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": OrderedDict()}

    def __getitem__(self, index: int) -> StoredCase:
        if self._process != os.getpid():
            # What a forked worker inherits belongs to its parent.
            self._opened, self._process = OrderedDict(), os.getpid()
        case = self._opened.pop(index, None) or StoredCase(
            self.folder, self.catalog.record(index), self.contract
        )
        self._opened[index] = case
        if len(self._opened) > MAX_OPEN:
            self._opened.popitem(last=False)
        return case
