"""`Cases`: the volumes of a source, checked, with their intensity range, kept in memory."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from vae3d.data.intensity import IntensityContract, IntensityRange
from vae3d.data.source import CaseData, CaseSource
from vae3d.data.splits import split_cases
from vae3d.data.volume import Volume
from vae3d.errors import DataError, VolumeError

GIB = 2**30


@dataclass(frozen=True)
class Case:
    """A volume and the range in which the model sees it."""

    volume: Volume
    range: IntensityRange


class Cases:
    """Reads, checks and remembers the cases of a source; the oldest leave a full memory.

    Raises:
        VolumeError: at reading, for a scan that cannot be used.
    """

    def __init__(self, source: CaseSource, config: CaseData) -> None:
        self.source = source
        self.config = config
        self.splits = split_cases(
            source.case_ids, source.splits, config.val_fraction, config.test_fraction
        )
        self.shapes: dict[int, tuple[int, ...]] = {}
        self._kept: OrderedDict[int, Case] = OrderedDict()
        self._bytes = 0

    @property
    def spatial_dims(self) -> int:
        """Axes of the volumes."""
        return self.source.spatial_dims

    @property
    def contract(self) -> IntensityContract:
        """How these volumes find their intensity range."""
        return self.source.contract

    def __getitem__(self, index: int) -> Case:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        case = self._read(index)
        self._keep(index, case)
        return case

    def survey(self, split: str, report: Callable[[str], None]) -> list[int]:
        """Reads every case of a split once; gives the usable ones and knows their shapes.

        With `on_error=skip` the others are reported and left out.

        Raises:
            DataError: the first one that cannot be used, or none can.
        """
        usable = []
        for index in self.splits[split]:
            try:
                self.shapes[index] = self[index].volume.shape
                usable.append(index)
            except VolumeError as error:
                if self.config.on_error == "fail":
                    raise
                report(f"skipped {error}")
        if self.splits[split] and not usable:
            raise DataError(f"none of the {len(self.splits[split])} cases of {split} can be used")
        if len(usable) < len(self.splits[split]):
            report(f"{len(self.splits[split]) - len(usable)} cases of {split} were skipped")
        return usable

    def _read(self, index: int) -> Case:
        volume = checked(self.source.read(index), self.config.nonfinite)
        return Case(volume, self.contract.range_of(volume))

    def _keep(self, index: int, case: Case) -> None:
        self._kept[index] = case
        self._bytes += case.volume.data.nbytes
        while self._bytes > self.config.cache_gib * GIB and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.volume.data.nbytes


def checked(volume: Volume, nonfinite: str) -> Volume:
    """The volume, if its voxels can teach or test anything.

    Raises:
        VolumeError: no finite voxel, some that are not finite (unless filled), or all one value.
    """
    name = volume.source.path if volume.source else volume.case_id
    data = volume.data
    finite = torch.isfinite(data)
    missing = data.numel() - int(finite.sum())
    if missing == data.numel():
        raise VolumeError(name, "holds no finite voxel")
    if missing and nonfinite == "fail":
        raise VolumeError(
            name,
            f"{missing} of {data.numel()} voxels are NaN or Inf; "
            "data.nonfinite=fill gives them the scan's lowest value",
        )
    if missing:
        volume = replace(volume, data=torch.where(finite, data, data[finite].min()))
    low, high = volume.data.aminmax()
    if low == high:
        raise VolumeError(name, f"all voxels have the one value {low.item():g}")
    return volume
