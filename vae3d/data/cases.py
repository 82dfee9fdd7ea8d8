"""`Cases`: what training and evaluation see of a data set; `LoadedCases`: in memory."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.config import CaseData, SourceData
from vae3d.data.foreground import ForegroundMap
from vae3d.data.intensity import IntensityContract, IntensityRange
from vae3d.data.source import CaseSource
from vae3d.data.splits import Splits
from vae3d.data.statistics import CaseStatistics
from vae3d.data.volume import SourceGeometry, Volume
from vae3d.errors import DataError, VolumeError
from vae3d.patching.region import Region

GIB = 2**30
FOREGROUND_SHARE = 0.1


class Case:
    """One volume: its shape and intensity range at once, its voxels when asked for.

    `spacing` is the size of a voxel along each axis in millimetres.
    """

    case_id: str
    channels: int
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    range: IntensityRange
    foreground: ForegroundMap
    statistics: CaseStatistics
    geometry: SourceGeometry | None

    def volume(self) -> Volume:
        """All of it."""
        raise NotImplementedError

    def cut(self, region: Region) -> Tensor:
        """What lies inside of a region, (C, at most *size), in the scan's own units."""
        raise NotImplementedError

    def foreground_voxel(
        self, threshold: float | None, generator: np.random.Generator
    ) -> NDArray[np.int64] | None:
        """A random voxel above a threshold in the scan's units; None where there is none.

        The default threshold is a tenth of the intensity range above its low end.
        """
        if threshold is None:
            threshold = self.range.low + FOREGROUND_SHARE * self.range.span

        def box(region: Region) -> NDArray[np.float32 | np.int16]:
            return self.cut(region)[0].numpy()

        return self.foreground.voxel(threshold, self.shape, box, generator)


class Cases:
    """The cases of a data set, by number, and their splits.

    `spacing` (D, H, W) in millimetres is what they were resampled to, if they were.
    """

    spacing: list[float] | None = None

    def __init__(self, config: CaseData, spatial_dims: int, contract: IntensityContract) -> None:
        self.config = config
        self.spatial_dims = spatial_dims
        self.contract = contract

    @cached_property
    def splits(self) -> Splits:
        """The numbers of the cases of each split, those included that cannot be used."""
        raise NotImplementedError

    def survey(self, split: str, report: Callable[[str], None]) -> NDArray[np.int64]:
        """The numbers of the usable cases of a split.

        With `on_error=skip` the others are reported and left out.

        Raises:
            DataError: the first one that cannot be used, or none can.
        """
        members = self.splits[split]
        errors = self.errors(split, stop=self.config.on_error == "fail")
        if errors and self.config.on_error == "fail":
            raise next(iter(errors.values()))
        for error in errors.values():
            report(f"skipped {error}")
        usable = np.array([index for index in members.tolist() if index not in errors], np.int64)
        if members.size and not usable.size:
            first = next(iter(errors.values()))
            raise DataError(
                f"none of the {members.size} cases of {split} can be used, the first: {first}"
            )
        if errors:
            report(f"{len(errors)} cases of {split} were skipped")
        return usable

    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        """What is wrong with the cases of a split that cannot be used; `stop` asks for one."""
        raise NotImplementedError

    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        """The spatial shapes of usable cases, given in ascending order."""
        raise NotImplementedError

    def case_id(self, index: int) -> str:
        """The name of a case."""
        raise NotImplementedError

    def fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Changes with the names and shapes of these cases; with their voxels, if in a store."""
        digest = hashlib.sha256()
        for index, shape in zip(indices.tolist(), self.shapes(indices), strict=True):
            digest.update(json.dumps([self.case_id(index), shape]).encode())
        return digest.hexdigest()

    def __getitem__(self, index: int) -> Case:
        raise NotImplementedError


class LoadedCase(Case):
    """A case in memory; `filled` voxels of it were not finite."""

    def __init__(self, volume: Volume, contract: IntensityContract, filled: int = 0) -> None:
        self.case_id = volume.case_id
        self.channels = len(volume.data)
        self.shape = volume.shape
        self.spacing = volume.spacing
        self.range = contract.range_of(volume)
        self.geometry = volume.source
        self.filled = filled
        self._volume = volume

    @cached_property
    def statistics(self) -> CaseStatistics:  # type: ignore[override]
        return CaseStatistics.of(self._volume, self.filled)

    @cached_property
    def foreground(self) -> ForegroundMap:  # type: ignore[override]
        return ForegroundMap.of(self._volume.data[0].numpy())

    def volume(self) -> Volume:
        return self._volume

    def cut(self, region: Region) -> Tensor:
        return region.cut(self._volume.data)


class LoadedCases(Cases):
    """Reads cases from their source; remembers those it read last, up to `cache_gib`."""

    def __init__(self, source: CaseSource, config: SourceData) -> None:
        super().__init__(config, source.spatial_dims, source.contract)
        self.nonfinite = config.nonfinite
        self.room = config.cache_gib * GIB
        self.source = source
        self.spacing = source.spacing
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._kept: OrderedDict[int, LoadedCase] = OrderedDict()
        self._bytes = 0

    @cached_property
    def splits(self) -> Splits:
        return self.source.split(self.config.val_fraction, self.config.test_fraction)

    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        """Reads every case once."""
        errors = {}
        for index in self.splits[split].tolist():
            try:
                self._shapes[index] = self[index].shape
            except VolumeError as error:
                errors[index] = error
                if stop:
                    break
        return errors

    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        return (self._shapes[index] for index in indices.tolist())

    def case_id(self, index: int) -> str:
        return self.source.case_ids[index]

    def __getitem__(self, index: int) -> LoadedCase:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        volume, filled = checked(self.source.read(index), self.nonfinite)
        case = LoadedCase(volume, self.contract, filled)
        self._keep(index, case)
        return case

    def _keep(self, index: int, case: LoadedCase) -> None:
        self._kept[index] = case
        self._bytes += case.volume().data.nbytes
        while self._bytes > self.room and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.volume().data.nbytes


def checked(volume: Volume, nonfinite: str) -> tuple[Volume, int]:
    """The volume, if its voxels can teach or test anything, and how many were filled.

    Raises:
        VolumeError: no finite voxel, some that are not finite (unless filled), or all one value.
    """
    name = volume.source.path if volume.source else volume.case_id
    data = volume.data
    missing = 0
    low, high = data.aminmax()
    # Its ends tell of any voxel that is not finite, at no memory of its own.
    if not (low.isfinite() and high.isfinite()):
        finite = torch.isfinite(data)
        missing = data.numel() - int(torch.count_nonzero(finite))
        if missing == data.numel():
            raise VolumeError(name, "holds no finite voxel")
        if nonfinite == "fail":
            raise VolumeError(
                name,
                f"{missing} of {data.numel()} voxels are NaN or Inf; "
                "data.nonfinite=fill gives them the scan's lowest value",
            )
        low, high = data[finite].aminmax()
        volume = replace(volume, data=torch.where(finite, data, low))
    if low == high:
        raise VolumeError(name, f"all voxels have the one value {low.item():g}")
    return volume, missing
