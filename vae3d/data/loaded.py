"""`LoadedCases`: cases that are read from their source and cached in memory."""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.data.build import Adopt, build_source
from vae3d.data.cases import Case, Cases
from vae3d.data.config import ScansConfig, SourceData
from vae3d.errors import VolumeError
from vae3d.patching.region import Region
from vae3d.runtime.memory import GIB
from vae3d.runtime.progress import Progress
from vae3d.scans.labels import doubt, may_hold_labels
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume, checked
from vae3d.store.foreground import ForegroundMap
from vae3d.values.geometry_findings import FindingCounter, GeometryFinding
from vae3d.values.identity import ScanIdentity
from vae3d.values.intensity import IntensityContract
from vae3d.values.splits import Splits
from vae3d.values.value_check import ValueCheck
from vae3d.values.voxel_statistics import VoxelStatistics, sampled

log = logging.getLogger(__name__)


class LoadedCase(Case):
    """A case in memory; `filled` is the number of its voxels that were not finite."""

    def __init__(self, volume: Volume, contract: IntensityContract, filled: int = 0) -> None:
        channels = len(volume.data)
        super().__init__(volume.case_id, channels, volume.shape, volume.affine, volume.source)
        self.range = contract.range_of(volume.data.numpy(), volume.case_id)
        self.filled = filled
        self.identity = volume.identity
        self._volume = volume

    @cached_property
    def statistics(self) -> VoxelStatistics:  # type: ignore[override]
        """Statistics over all voxels."""
        return VoxelStatistics.of(self._volume.data.numpy(), self.filled)

    def quick_statistics(self) -> VoxelStatistics:
        """Return statistics of a regular sample of the voxels, with the extremes of all."""
        voxels = self._volume.data.numpy()
        sample = VoxelStatistics.of(sampled(voxels)[None, None], self.filled)
        # A sample may miss the only air there is.
        low, high = float(voxels.min()), float(voxels.max())
        percentiles = low, *sample.percentiles[1:-1], high
        return replace(sample, minimum=low, maximum=high, percentiles=percentiles)

    @cached_property
    def foreground(self) -> ForegroundMap:  # type: ignore[override]
        """The map of the largest values."""
        return ForegroundMap.of(self._volume.data[0].numpy())

    def volume(self) -> Volume:
        """Return the volume that is in memory."""
        return self._volume

    def cut(self, region: Region) -> Tensor:
        """Return the voxels inside a region."""
        return region.cut(self._volume.data)


def open_loaded(
    config: SourceData, progress: Progress, source: CaseSource | None, adopt: Adopt
) -> "LoadedCases":
    """Open cases that are read from their source on demand.

    Raises:
        UserError: the cases do not exist.
    """
    source = source or build_source(config)
    return LoadedCases(source, config, adopt(source.contract, source.spatial_dims))


class LoadedCases(Cases):
    """Cases that are read from their source; the last ones used are cached, up to `cache_gib`."""

    def __init__(
        self,
        source: CaseSource,
        config: SourceData,
        contract: IntensityContract | None = None,
    ) -> None:
        super().__init__(config, source.spatial_dims, contract or source.contract)
        self.nonfinite = config.nonfinite
        self.cache_bytes = config.cache_gib * GIB
        self.source = source
        self.left_out = source.left_out
        self.spacing = source.spacing
        self.channel = getattr(config, "channel", None)
        self.reader = getattr(config, "reader", None) or self.reader
        self.resampling = getattr(config, "resampling", None) or self.resampling
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._findings: dict[int, tuple[GeometryFinding, ...]] = {}
        self._identities: dict[int, ScanIdentity | None] = {}
        self._statistics: dict[int, VoxelStatistics] = {}
        self.check: ValueCheck | None = None
        """Refuses cases as they are read, where that is asked for."""
        self._cache: OrderedDict[int, LoadedCase] = OrderedDict()
        self._cached_bytes = 0

    @cached_property
    def splits(self) -> Splits:
        """The splits of the source."""
        return self.source.split(self.split_rule)

    def errors(self, split: str, stop: bool) -> dict[int, VolumeError]:
        """Read every case of the split once, and return the errors."""
        errors, doubtful = {}, []
        for index in self.splits[split].tolist():
            try:
                case = self[index]
            except VolumeError as error:
                errors[index] = error
                if stop:
                    break
                continue
            if index not in self._shapes and self._doubts_labels(case):
                doubtful.append(case.case_id)
            self._shapes[index] = case.shape
        if doubtful:
            log.warning(doubt(doubtful))
        return errors

    def _doubts_labels(self, case: LoadedCase) -> bool:
        asks = isinstance(self.config, ScansConfig) and self.config.label_maps != "keep"
        return asks and may_hold_labels(case.volume().data.numpy())

    def shapes(self, indices: NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
        """Yield the shapes that `errors` has read."""
        return (self._shapes[index] for index in indices.tolist())

    def case_id(self, index: int) -> str:
        """Return the name of a case."""
        return self.source.case_ids[index]

    def statistics(self, index: int) -> VoxelStatistics | None:
        """Return the statistics of a sample of the voxels, once they have been read."""
        return self._statistics.get(index)

    def identity(self, index: int) -> ScanIdentity | None:
        """Return which scan a case is, once it has been read."""
        return self._identities.get(index)

    def group_of(self) -> dict[int, int]:
        """Return the ranks, which are those of the groups."""
        return {index: self.source.rank(index) for index in range(len(self.source.case_ids))}

    @property
    def split_kind(self) -> str:
        """The kind of a split rule that names none."""
        return self.source.split_kind

    @property
    def is_listed(self) -> bool:
        """Whether a list assigned the splits."""
        return any(self.source.splits)

    def copies(self) -> list[list[int]]:
        """Return the numbers of the cases of each scan that was read several times."""
        groups: dict[str, list[int]] = {}
        for index, identity in sorted(self._identities.items()):
            if identity is not None:
                groups.setdefault(identity.voxels, []).append(index)
        return [group for group in groups.values() if len(group) > 1]

    def findings(self) -> list[str]:
        """Return a line on each doubt about the geometry of the scans that were read."""
        counter = FindingCounter()
        for index, findings in sorted(self._findings.items()):
            counter.add(self.case_id(index), findings)
        return [summary.text(len(self._findings)) for summary in counter.summaries]

    def fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Return a hash of names, shapes and voxels of cases that were read."""
        voxels = [str(self._identities[index]) for index in indices.tolist()]
        content = json.dumps([self.earlier_fingerprint(indices), voxels])
        return hashlib.sha256(content.encode()).hexdigest()

    def earlier_fingerprint(self, indices: NDArray[np.int64]) -> str:
        """Return a hash of names and shapes alone."""
        return super().fingerprint(indices)

    def stamp(self, index: int) -> str:
        """Return the mark of the source, empty where it has none."""
        try:
            return self.source.stamp(index).mark
        except NotImplementedError:
            return ""

    def __getitem__(self, index: int) -> LoadedCase:
        if index in self._cache:
            self._cache.move_to_end(index)
            return self._cache[index]
        volume, filled = checked(self.source.read(index), self.nonfinite)
        case = LoadedCase(volume, self.contract, filled)
        self._identities[index] = case.identity
        self._findings[index] = volume.source.findings if volume.source else ()
        if self.config.check != "off" and index not in self._statistics:
            self._statistics[index] = case.quick_statistics()
            if self.check is not None:
                self.check.add(case.case_id, self._statistics[index])
                self.check.refuse()
        self._cache[index] = case
        self._cached_bytes += volume.data.nbytes
        while self._cached_bytes > self.cache_bytes and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= oldest.volume().data.nbytes
        return case
