"""Where patches come from: the whole volume, a grid that covers it, or random places."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import ConfigError
from vae3d.patching.region import Region

MAX_SIDE = 1024

Foreground = Callable[[np.random.Generator], NDArray[np.int64] | None]
"""Draws a voxel (spatial_dims,) of the foreground; None where there is none."""


@dataclass
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

    def fitted(self, spatial_dims: int) -> "PatchSampler":
        """The sampler for data of this many axes; a single number in `size` means every axis.

        Raises:
            ConfigError: the size does not fit.
        """
        return self


@dataclass
class WholeVolume(PatchSampler):
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


@dataclass
class GridPatches(PatchSampler):
    """Every patch of a regular grid; the last one of each axis ends with the volume.

    `overlap` is the share of a patch that its neighbour covers too, in [0, 1).
    """

    size: tuple[int, ...] = (64, 64, 64)
    overlap: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ConfigError(f"patching.overlap must lie in [0, 1), got {self.overlap}")

    def fitted(self, spatial_dims: int) -> PatchSampler:
        return replace(self, size=patch_size(self.size, spatial_dims))

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


@dataclass
class RandomPatches(PatchSampler):
    """`per_volume` fresh patches of every volume in every epoch.

    A share `foreground` of them is placed around a voxel above `threshold` (in the scan's own
    units; null is a tenth of the intensity range above its low end), since air teaches nothing.
    """

    size: tuple[int, ...] = (64, 64, 64)
    per_volume: int = 8
    foreground: float = 0.5
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.per_volume < 1:
            raise ConfigError(f"patching.per_volume must be at least 1, got {self.per_volume}")
        if not 0 <= self.foreground <= 1:
            raise ConfigError(f"patching.foreground must lie in [0, 1], got {self.foreground}")

    def fitted(self, spatial_dims: int) -> PatchSampler:
        return replace(self, size=patch_size(self.size, spatial_dims))

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
