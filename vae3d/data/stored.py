"""`StoredCases`: the cases of a store, listed in its catalog; prepare and open it."""

import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.build import Adopt, build_source, keep
from vae3d.data.cases import Case, Cases
from vae3d.data.config import CaseData, PreparableData, ScansConfig, StoreConfig
from vae3d.errors import ConfigError, VolumeError
from vae3d.files.atomic import file_digest
from vae3d.files.links import check_inside
from vae3d.files.paths import user_path
from vae3d.patching.region import Region
from vae3d.runtime.choices import READERS, RESAMPLINGS
from vae3d.runtime.progress import Progress, Silent
from vae3d.scans.labels import doubt, may_be_labels
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume
from vae3d.store.arrays import StoredArray, damaged, open_array
from vae3d.store.catalog import CaseRecord, Catalog
from vae3d.store.foreground import ForegroundMap
from vae3d.store.prepare import Preparation
from vae3d.store.settings import CATALOG, StoreSettings
from vae3d.values.identity import ScanIdentity
from vae3d.values.intensity import IntensityContract, IntensityRange
from vae3d.values.splits import Splits, join_copies
from vae3d.values.value_check import ValueCheck
from vae3d.values.voxel_statistics import VoxelStatistics

log = logging.getLogger(__name__)

STORES = "stores"
"""Folder of the stores of `data.store=auto`, in the working directory."""
MAX_OPEN = 64
"""Most arrays that a process keeps open: each takes a file descriptor and a little memory."""
MAX_VERIFIED = 10_000
"""Most arrays of which a process remembers the chunks that it has verified: about 5 MB."""


class StoredCase(Case):
    """A case of a store; its voxels stay on disk.

    Arrays with checksums of their own (format 2) are verified as they are read: `verified` has the
    chunks that were before. Others are verified as a whole when they are opened, unless the array
    is known to be: `is_whole`.
    """

    def __init__(
        self,
        folder: Path,
        record: CaseRecord,
        contract: IntensityContract,
        verified: NDArray[np.bool_] | None = None,
        *,
        is_whole: bool = False,
    ) -> None:
        affine = np.array(record.affine, np.float64)
        super().__init__(record.case_id, record.channels, record.shape, affine, record.geometry)
        self.contract = contract
        assert record.statistics is not None
        self.statistics = record.statistics
        self.identity = record.identity
        self.path = check_inside(folder, folder / str(record.file))
        self._folder = folder
        self._dtype = np.dtype(record.dtype)
        self._digest, self._sums = record.digest, record.sums
        self._known, self._is_whole = verified, is_whole

    @cached_property
    def _opened(self) -> tuple[StoredArray, ForegroundMap]:
        array, maxima = open_array(self.path, self._known, self._sums, self._folder)
        if (array.shape, array.dtype) != ((self.channels, *self.shape), self._dtype):
            raise damaged(self.path, "it does not match the catalog")
        # Without its own checksums, or if the catalog does not know those, it may be any array.
        if self._sums is None and self._digest and not self._is_whole:
            if file_digest(self.path) != self._digest:
                raise damaged(self.path, "its SHA-256 is not that of the catalog")
            self._is_whole = True
        return array, ForegroundMap(maxima)

    @property
    def verified(self) -> NDArray[np.bool_] | None:
        """The chunks that were verified, True once they are read; None if the array was, whole.

        Raises:
            VolumeError: the array is missing or damaged.
        """
        array = self._opened[0]
        return None if self._is_whole else array.verified

    @property
    def foreground(self) -> ForegroundMap:  # type: ignore[override]
        """The map of the largest values, which is stored with the array."""
        return self._opened[1]

    @cached_property
    def range(self) -> IntensityRange:  # type: ignore[override]
        """The intensity range, from the stored percentiles where they suffice."""
        # All voxels are read only if the statistics do not suffice.
        return self.contract.range_from_statistics(
            self.statistics, self.case_id
        ) or self.contract.range_of(self.volume().data.numpy(), self.case_id)

    def volume(self) -> Volume:
        """Read the whole array."""
        return Volume(
            data=self.cut(Region((0,) * len(self.shape), self.shape)),
            affine=self.affine,
            case_id=self.case_id,
            source=self.geometry,
        )

    def cut(self, region: Region) -> Tensor:
        """Read the voxels inside a region."""
        stop = tuple(
            min(c + s, n) for c, s, n in zip(region.corner, region.size, self.shape, strict=True)
        )
        box = (slice(None), *(slice(a, b) for a, b in zip(region.corner, stop, strict=True)))
        try:
            voxels = self._opened[0][box]
        except (RuntimeError, ValueError, OSError) as error:
            raise damaged(self.path, str(error)) from error
        # blosc2 decompresses into new memory; a memory map of numpy must be copied.
        return torch.from_numpy(voxels if voxels.flags.owndata else voxels.copy())


def open_prepared(
    config: PreparableData, progress: Progress, source: CaseSource | None, adopt: Adopt
) -> "StoredCases":
    """Bring the store of these data up to date, and open it.

    Raises:
        UserError: the data do not exist, or cannot be prepared.
    """
    source = source or build_source(config)
    contract = adopt(source.contract, source.spatial_dims)
    folder, settings = resolve_store(config, source)
    check = ValueCheck(contract, config.check, is_fixed=adopt is not keep)
    Preparation(source, settings, folder, progress=progress, check=check).run()
    cases = StoredCases(folder, config, contract)
    cases.left_out = source.left_out
    warn_of_labels(config, cases.catalog)
    return cases


def without_stale_store(config: PreparableData, source: CaseSource) -> PreparableData:
    """Return the data that a saved run names, without a store that would have to be written.

    A run may come from anybody. The store that its settings name is read; to be written it must
    be typed.
    """
    if config.store in (None, "auto"):
        return config
    folder, settings = resolve_store(config, source)
    if Preparation(source, settings, folder, progress=Silent()).is_readable():
        return config
    log.info(
        f"data.store={config.store}, of the run's settings, is not up to date: the scans are read "
        f"without it; type data.store={config.store} to prepare it"
    )
    return replace(config, store=None)


def warn_of_labels(config: PreparableData, catalog: Catalog) -> None:
    """Log one line on scans of a store that may be label maps, unless the settings keep them."""
    if not (isinstance(config, ScansConfig) and config.label_maps != "keep"):
        return
    statistics = catalog.all_statistics()
    names = [name for name, values in statistics if values and may_be_labels(values)]
    if names:
        log.warning(doubt(names))


def resolve_store(config: PreparableData, source: CaseSource) -> tuple[Path, StoreSettings]:
    """Return the folder and the settings of the store of these data."""
    settings = StoreSettings(
        source=config.identity(),
        nonfinite=config.nonfinite,
        codec=config.codec,
        spatial_dims=source.spatial_dims,
        contract=source.contract.describe(),
    )
    if config.store in (None, "auto"):
        return Path(STORES) / f"{config.label}-{settings.fingerprint()}", settings
    return user_path(str(config.store)), settings


def open_store(
    config: StoreConfig, progress: Progress, source: CaseSource | None, adopt: Adopt
) -> "StoredCases":
    """Open a store that `vae3d prepare` wrote.

    Raises:
        UserError: no store, or its intensity range is of another kind than the one in `config`.
    """
    config.check_given()
    cases = StoredCases(user_path(str(config.root)), config)
    cases.contract = adopt(replaced_range(config, cases.contract), cases.spatial_dims)
    return cases


def replaced_range(config: StoreConfig, own: IntensityContract) -> IntensityContract:
    """Return a store's own contract with the window or percentiles of `config`, if it sets them.

    Raises:
        ConfigError: the store's contract is of the other kind.
    """
    for kind, values in (("window", config.window), ("percentiles", config.percentiles)):
        if values is None:
            continue
        if kind != own.kind:
            raise ConfigError(f"data.{kind} does not fit this store, whose range is {own.kind}")
        return replace(own, low=values[0], high=values[1])
    return own


class StoredCases(Cases):
    """The cases of a store, listed in its catalog and opened on demand."""

    def __init__(
        self, folder: Path, config: CaseData, contract: IntensityContract | None = None
    ) -> None:
        settings = StoreSettings.read(folder)
        own = IntensityContract(**settings.contract)
        super().__init__(config, settings.spatial_dims, contract or own)
        self.folder = folder
        self.spacing = settings.source.get("spacing")
        self.channel = settings.source.get("channel")
        if settings.source.get("kind") != "Phantoms":
            self.reader = settings.source.get("reader", READERS[0])
        if self.spacing is not None:
            self.resampling = settings.source.get("resampling", RESAMPLINGS[0])
        self.catalog = Catalog(folder / CATALOG)
        self._open_cases: OrderedDict[tuple[int, int], StoredCase] = OrderedDict()
        self._verified: OrderedDict[int, NDArray[np.bool_]] = OrderedDict()
        self._whole: set[int] = set()

    @cached_property
    def splits(self) -> Splits:
        """The splits that the catalog assigns; copies of a scan follow the first one."""
        splits = self.catalog.split(self.split_rule)
        if self.is_listed or not self.split_rule.keeps_cases(self.catalog.split_kind):
            return splits
        return join_copies(splits, self.copies())

    @cached_property
    def failures(self) -> dict[int, VolumeError]:
        """The errors of the cases that could not be prepared."""
        return {
            number: VolumeError(source, reason)
            for number, source, reason in self.catalog.failures()
        }

    def num_bytes(self) -> int:
        """Return the size of the store's arrays on disk, in bytes."""
        return sum((self.folder / file).stat().st_size for file in self.catalog.files())

    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        """Return the reasons that the catalog has for cases that could not be prepared."""
        failed = self.failures.keys() & self.splits[split].tolist()
        return {number: self.failures[number] for number in sorted(failed)}

    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        """Yield the shapes in the catalog."""
        return self.catalog.shapes(indices)

    def case_id(self, index: int) -> str:
        """Return the name in the catalog."""
        return self.catalog.case_id(index)

    def statistics(self, index: int) -> VoxelStatistics | None:
        """Return the statistics in the catalog."""
        return self.catalog.statistics(index)

    def identity(self, index: int) -> ScanIdentity | None:
        """Return which scan a case is; None in stores of format 1."""
        return self.catalog.identity(index)

    def group_of(self) -> dict[int, int]:
        """Return the ranks in the catalog, which are those of the groups."""
        return dict(enumerate(self.catalog.ranks()))

    @property
    def split_kind(self) -> str:
        """The kind of a split rule that names none."""
        return self.catalog.split_kind

    @property
    def is_listed(self) -> bool:
        """Whether a list assigned the splits."""
        return self.catalog.is_listed

    def copies(self) -> list[list[int]]:
        """Return the numbers of the cases of each scan that is there several times."""
        return self.catalog.copies()

    def findings(self) -> list[str]:
        """Return a line on each doubt about the geometry of the scans."""
        return [summary.text(len(self.catalog)) for summary in self.catalog.findings]

    def fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Return a hash of the catalog's fingerprint and the numbers of the cases."""
        content = self.catalog.fingerprint.encode() + indices.tobytes()
        return hashlib.sha256(content).hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open_cases": OrderedDict()}

    def described(self, index: int) -> StoredCase:
        """Return a case whose array is opened when its voxels are needed."""
        record, verified = self.catalog.record(index), self._verified.get(index)
        is_whole = index in self._whole
        return StoredCase(self.folder, record, self.contract, verified, is_whole=is_whole)

    def __getitem__(self, index: int) -> StoredCase:
        # A forked worker must not share the open files of its parent: it opens its own.
        key = os.getpid(), index
        case = self._open_cases.pop(key, None) or self.described(index)
        self._open_cases[key] = case
        verified = case.verified
        if verified is None:
            self._whole.add(index)
        else:
            self._verified[index] = verified
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        if len(self._open_cases) > MAX_OPEN:
            self._open_cases.popitem(last=False)
        return case
