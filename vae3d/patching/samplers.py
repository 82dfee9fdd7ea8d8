"""Where patches come from: the whole volume, a grid that covers it, or random places."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import ConfigError
from vae3d.patching.config import (
    MAX_SIDE,
    GridPatchesConfig,
    PatchingConfig,
    RandomPatchesConfig,
    WholeVolumeConfig,
)
from vae3d.patching.region import Region
from vae3d.runtime.registry import load

Foreground = Callable[[np.random.Generator], NDArray[np.int64] | None]
"""Draws a voxel (spatial_dims,) of the foreground; None where there is none."""


class PatchSampler:
    """Patches of a volume; `index` counts from 0 to `num_patches(shape)`."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        """How many patches an epoch takes from a volume of this shape."""
        raise NotImplementedError

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        """The box of patch `index`."""
        raise NotImplementedError


class WholeVolume(WholeVolumeConfig, PatchSampler):
    """The volume itself."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        return 1

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        return Region((0,) * len(shape), shape)


class GridPatches(GridPatchesConfig, PatchSampler):
    """Every patch of a regular grid; the last one of each axis ends with the volume."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        return int(np.prod([len(s) for s in self._starts(shape)]))

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        starts = self._starts(shape)
        place = np.unravel_index(index, [len(s) for s in starts])
        return Region(tuple(s[i] for s, i in zip(starts, place, strict=True)), self.size)

    def regions(
        self, shape: tuple[int, ...], multiple: tuple[int, ...] | None = None
    ) -> list[Region]:
        """All boxes; with `multiple`, corners are multiples of it if shape and size are."""
        starts = self._starts(shape, multiple)
        return [Region(corner, self.size) for corner in itertools.product(*starts)]

    def _starts(
        self, shape: tuple[int, ...], multiple: tuple[int, ...] | None = None
    ) -> list[list[int]]:
        grain = multiple or (1,) * len(shape)
        return [
            axis_starts(length, size, self.overlap, step)
            for length, size, step in zip(shape, self.size, grain, strict=True)
        ]


class RandomPatches(RandomPatchesConfig, PatchSampler):
    """`per_volume` fresh patches of every volume in every epoch.

    A share `foreground` of them is placed around a voxel above `threshold`.
    """

    def num_patches(self, shape: tuple[int, ...]) -> int:
        return self.per_volume

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        room = np.maximum(np.array(shape) - self.size, 0)
        corner = generator.integers(0, room + 1)
        if generator.random() < self.foreground:
            voxel = foreground(generator)
            if voxel is not None:
                inside = generator.integers(0, np.minimum(self.size, shape))
                corner = np.clip(voxel - inside, 0, room)
        return Region(tuple(int(c) for c in corner), self.size)


def build_sampler(config: PatchingConfig, spatial_dims: int) -> PatchSampler:
    """The sampler for data of this many axes; a single number in `size` means every axis.

    Raises:
        ConfigError: the size does not fit.
    """
    values = asdict(config)
    if "size" in values:
        values["size"] = patch_size(values["size"], spatial_dims)
    sampler: PatchSampler = load(config.sampler)(**values)
    return sampler


def axis_starts(length: int, size: int, overlap: float, multiple: int = 1) -> list[int]:
    """Starts along one axis so that [0, length) is covered and the last patch ends at its end.

    The step is a patch less its overlap, rounded down to a multiple of `multiple`.
    """
    if length <= size:
        return [0]
    step = max(int(size * (1 - overlap)) // multiple * multiple, multiple)
    return [*range(0, length - size, step), length - size]


def patch_size(
    size: Sequence[int], spatial_dims: int, key: str = "patching.size"
) -> tuple[int, ...]:
    """The size for each axis; a single number stands for all of them.

    Raises:
        ConfigError: wrong number of axes, or a side out of [1, 1024].
    """
    sides = tuple(size) * spatial_dims if len(size) == 1 else tuple(size)
    if len(sides) != spatial_dims:
        raise ConfigError(
            f"{key} needs 1 or {spatial_dims} numbers for {spatial_dims}D data, got {list(size)}"
        )
    if any(not 1 <= s <= MAX_SIDE for s in sides):
        raise ConfigError(f"{key} must lie in [1, {MAX_SIDE}] along each axis, got {list(size)}")
    return sides
