"""`Case` and `Cases`: the interface of a data set for training and evaluation."""

import hashlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.config import CaseData
from vae3d.errors import DataError, VolumeError, with_way_out
from vae3d.patching.region import Region
from vae3d.runtime.choices import LABEL_MAPS, READERS, RESAMPLINGS, parse_part
from vae3d.runtime.messages import counted
from vae3d.scans.volume import SourceGeometry, Volume, spacing_of
from vae3d.store.foreground import ForegroundMap
from vae3d.values.contract import InputContract
from vae3d.values.identity import ScanIdentity
from vae3d.values.intensity import IntensityContract, IntensityRange
from vae3d.values.splits import SplitRule, Splits
from vae3d.values.voxel_statistics import VoxelStatistics

log = logging.getLogger(__name__)


class Case(ABC):
    """One volume: its shape and intensity range in memory, its voxels read on demand.

    `spacing` is the size of a voxel along each axis in millimetres. `affine` (n+1, n+1) maps voxel
    indices to RAS millimetres.
    """

    range: IntensityRange
    foreground: ForegroundMap
    statistics: VoxelStatistics
    identity: ScanIdentity | None
    """Which scan it is; None in stores of format 1."""

    def __init__(
        self,
        case_id: str,
        channels: int,
        shape: tuple[int, ...],
        affine: NDArray[np.float64],
        geometry: SourceGeometry | None,
    ) -> None:
        self.case_id = case_id
        self.channels = channels
        self.shape = shape
        self.affine = affine
        self.spacing = spacing_of(affine)
        self.geometry = geometry

    @abstractmethod
    def volume(self) -> Volume:
        """Return the whole volume."""

    @abstractmethod
    def cut(self, region: Region) -> Tensor:
        """Return the part of the volume inside a region (C, up to *size), in the scan's units."""

    def foreground_voxel(
        self, threshold: float | None, generator: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """Return a random voxel above a threshold in the scan's units, or None if there is none.

        The default threshold is the low end of the intensity range plus a tenth of its width.
        """
        if threshold is None:
            threshold = self.range.foreground

        def box(region: Region) -> NDArray[np.float32 | np.int16]:
            return self.cut(region)[0].numpy()

        return self.foreground.voxel(threshold, self.shape, box, generator)


class Cases(ABC):
    """The cases of a data set, by number, and their splits.

    They are resampled to `spacing` (D, H, W) in millimetres, unless it is None. `channel` is the
    component that was chosen of scans that have several. `resampling` and `reader` are how scans
    were resampled and read.
    """

    spacing: list[float] | None = None
    channel: int | None = None
    resampling = RESAMPLINGS[-1]
    reader = READERS[-1]

    def __init__(self, config: CaseData, spatial_dims: int, contract: IntensityContract) -> None:
        self.config = config
        self.spatial_dims = spatial_dims
        self.contract = contract
        self.left_out: dict[str, str] = {}

    @cached_property
    @abstractmethod
    def splits(self) -> Splits:
        """The numbers of the cases of each split, including those that cannot be used."""

    @property
    def split_rule(self) -> SplitRule:
        """How cases are held out where no list does it."""
        config = self.config
        fold = parse_part(config.fold, "data.fold") if config.fold else None
        return SplitRule(config.val_fraction, config.test_fraction, config.split_rule, fold)

    def survey(self, split: str) -> NDArray[np.int64]:
        """Return the numbers of the usable cases of a split.

        With `on_error=skip` the others are logged and left out.

        Raises:
            DataError: a case cannot be used and `on_error=fail`, or no case can be used.
        """
        members = self.splits[split]
        usable, errors = self.usable(split, stop=self.config.on_error == "fail")
        if errors and self.config.on_error == "fail":
            raise with_way_out(next(iter(errors.values())), "data.on_error")
        for error in errors.values():
            log.info(f"skipped {error}")
        if members.size and not usable.size:
            first = next(iter(errors.values()))
            raise DataError(
                f"none of {counted(int(members.size), 'case')} of {split} can be used, the first: "
                f"{first}"
            )
        if errors:
            log.info(f"skipped {counted(len(errors), 'case')} of {split}")
        return usable

    def usable(
        self, split: str, stop: bool = False
    ) -> tuple[NDArray[np.int64], dict[int, VolumeError]]:
        """Return the numbers of the usable cases of a split, and the errors of the others."""
        errors = self.errors(split, stop)
        members = self.splits[split].tolist()
        return np.array([index for index in members if index not in errors], np.int64), errors

    @abstractmethod
    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        """Return the errors of the unusable cases of a split; one is enough with `stop`."""

    @abstractmethod
    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        """Return the spatial shapes of usable cases; `indices` must be in ascending order."""

    @abstractmethod
    def case_id(self, index: int) -> str:
        """Return the name of a case."""

    @abstractmethod
    def statistics(self, index: int) -> VoxelStatistics | None:
        """Return the statistics of a case's values, as far as they are known without reading it.

        They may be those of a sample of its voxels.
        """

    def stamp(self, index: int) -> str:
        """Return a stamp that changes with the voxels of a case; empty if the source has none."""
        return self.fingerprint(np.array([index], np.int64))

    def identity(self, index: int) -> ScanIdentity | None:
        """Return which scan a case is, as far as it is known without reading it."""
        return None

    @abstractmethod
    def group_of(self) -> dict[int, int]:
        """Return a number for each case that is equal for the cases of one group (a patient)."""

    @property
    @abstractmethod
    def split_kind(self) -> str:
        """The kind of a split rule that names none."""

    @property
    @abstractmethod
    def is_listed(self) -> bool:
        """Whether a list assigned the splits."""

    def copies(self) -> list[list[int]]:
        """Return the numbers of the cases of each scan that is known to be there several times."""
        return []

    def num_groups(self, indices: NDArray[np.int64]) -> int:
        """Return of how many groups (patients, if `data.group` is given) these cases are."""
        groups = self.group_of()
        return len({groups[index] for index in indices.tolist()})

    @property
    def recorded(self) -> dict[str, Any]:
        """What settings of data that are null stand for, which a run records."""
        window = (self.contract.low, self.contract.high)
        own = {"resampling": self.resampling, "reader": self.reader, "window": window}
        return {"split_rule": self.split_kind, "label_maps": LABEL_MAPS[0], **own}

    @property
    def input_contract(self) -> InputContract:
        """How the cases become the input of a network."""
        spacing = None if self.spacing is None else (*self.spacing,)
        return InputContract(self.contract, spacing, self.channel, self.resampling, self.reader)

    def findings(self) -> list[str]:
        """Return a line on each doubt about the geometry of the scans, as far as it is known."""
        return []

    def split_of(self) -> dict[int, str]:
        """Return the split of every case."""
        return {index: name for name, members in self.splits.items() for index in members.tolist()}

    def fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Return a hash of these cases' names and shapes; in a store, also of their voxels."""
        digest = hashlib.sha256()
        for index, shape in zip(indices.tolist(), self.shapes(indices), strict=True):
            digest.update(json.dumps([self.case_id(index), shape]).encode())
        return digest.hexdigest()

    def earlier_fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Return the fingerprint that earlier versions recorded."""
        return self.fingerprint(indices)

    def described(self, index: int) -> Case:
        """Return a case of which only what is known without its voxels is asked for.

        Raises:
            VolumeError: it cannot be read.
        """
        return self[index]

    @abstractmethod
    def __getitem__(self, index: int) -> Case:
        """Return case number `index`.

        Raises:
            VolumeError: it cannot be read.
        """
