"""Samplers of patches: the whole volume, a grid that covers it, or random positions."""

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
"""Draws a voxel (spatial_dims,) of the foreground; returns None if there is none."""


class PatchSampler:
    """A rule for the patches of a volume; `index` is below `num_patches(shape)`."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        """Return the number of patches of an epoch from a volume of this shape."""
        raise NotImplementedError

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        """Return the box of patch `index`."""
        raise NotImplementedError


class WholeVolume(WholeVolumeConfig, PatchSampler):
    """The volume itself."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        """Return 1."""
        return 1

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        """Return the whole volume."""
        return Region((0,) * len(shape), shape)


class GridPatches(GridPatchesConfig, PatchSampler):
    """Every patch of a regular grid; the last one of each axis ends with the volume."""

    def num_patches(self, shape: tuple[int, ...]) -> int:
        """Return the number of patches of the grid."""
        return int(np.prod([len(s) for s in self._starts(shape)]))

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        """Return a patch of the grid."""
        starts = self._starts(shape)
        position = np.unravel_index(index, [len(s) for s in starts])
        return Region(tuple(s[i] for s, i in zip(starts, position, strict=True)), self.size)

    def regions(
        self, shape: tuple[int, ...], multiple: tuple[int, ...] | None = None
    ) -> list[Region]:
        """Return all boxes; their corners are multiples of `multiple` if shape and size are."""
        starts = self._starts(shape, multiple)
        return [Region(corner, self.size) for corner in itertools.product(*starts)]

    def _starts(
        self, shape: tuple[int, ...], multiple: tuple[int, ...] | None = None
    ) -> list[list[int]]:
        multiples = multiple or (1,) * len(shape)
        return [
            axis_starts(length, size, self.overlap, step)
            for length, size, step in zip(shape, self.size, multiples, strict=True)
        ]


class RandomPatches(RandomPatchesConfig, PatchSampler):
    """`per_volume` fresh patches of every volume in every epoch.

    A share `foreground` of them is placed around a voxel above `threshold`.
    """

    def num_patches(self, shape: tuple[int, ...]) -> int:
        """Return `per_volume`."""
        return self.per_volume

    def region(
        self,
        shape: tuple[int, ...],
        index: int,
        generator: np.random.Generator,
        foreground: Foreground,
    ) -> Region:
        """Draw a patch."""
        room = np.maximum(np.array(shape) - self.size, 0)
        corner = generator.integers(0, room + 1)
        if generator.random() < self.foreground:
            voxel = foreground(generator)
            if voxel is not None:
                inside = generator.integers(0, np.minimum(self.size, shape))
                corner = np.clip(voxel - inside, 0, room)
        return Region(tuple(int(c) for c in corner), self.size)


def build_sampler(config: PatchingConfig, spatial_dims: int) -> PatchSampler:
    """Return the sampler for data of this many axes; one number in `size` is for every axis.

    Raises:
        ConfigError: the size does not fit the number of axes.
    """
    values = asdict(config)
    if "size" in values:
        values["size"] = patch_size(values["size"], spatial_dims)
    sampler: PatchSampler = load(config.sampler)(**values)
    return sampler


def axis_starts(length: int, size: int, overlap: float, multiple: int = 1) -> list[int]:
    """Return the starts of patches along an axis, which cover it and end at its end.

    The step is a patch less its overlap, rounded down to a multiple of `multiple`.
    """
    if length <= size:
        return [0]
    step = max(int(size * (1 - overlap)) // multiple * multiple, multiple)
    return [*range(0, length - size, step), length - size]


def patch_size(
    size: Sequence[int], spatial_dims: int, key: str = "patching.size"
) -> tuple[int, ...]:
    """Return the size along each axis; a single number is for all of them.

    Raises:
        ConfigError: the number of axes is wrong, or a side is outside of [1, 1024].
    """
    sides = tuple(size) * spatial_dims if len(size) == 1 else tuple(size)
    if len(sides) != spatial_dims:
        raise ConfigError(
            f"{key} needs 1 or {spatial_dims} numbers for {spatial_dims}D data, got {list(size)}"
        )
    if any(not 1 <= s <= MAX_SIDE for s in sides):
        raise ConfigError(f"{key} must be in [1, {MAX_SIDE}] along each axis, got {list(size)}")
    return sides
