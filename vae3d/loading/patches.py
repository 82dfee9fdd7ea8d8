"""`PatchDataset`: patch = f(seed, epoch, index), in any process and in any order."""

import contextlib
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vae3d.data.cases import Cases
from vae3d.errors import DataError, VolumeError
from vae3d.loading.latents import LatentBatch, LatentCrop, StoredLatents
from vae3d.patching.region import Region
from vae3d.patching.samplers import PatchSampler
from vae3d.runtime.seeding import derive_seed, numpy_generator

SUBSTITUTES = 16
"""The number of other patches to try if one cannot be read."""
PADDING = -1.0
"""Value of the voxels of a patch outside a thin volume: the low end of the range, air in CT."""


@dataclass(frozen=True)
class Draw:
    """One patch of a plan: number `index` of an epoch, with its share `weight` in the step."""

    epoch: int
    index: int
    weight: float


@dataclass(frozen=True)
class Patch:
    """An `image` (C, *size) in [-1, 1]; its first `inside` voxels along each axis are no padding.

    `latents` is its stored latent, in a training on latents. `instead_of` is set if the patch
    replaces one that cannot be read: that one's case, and why.
    """

    image: Tensor
    inside: tuple[int, ...]
    weight: float
    noise_seed: int
    latents: LatentCrop | None = None
    instead_of: tuple[str, str] | None = None


class PatchDataset(Dataset[Patch]):
    """The patches that a sampler takes from the cases `indices`; items are indexed by `Draw`.

    With `latents` each patch begins on the latent grid, and comes with its stored latent.
    """

    def __init__(
        self,
        cases: Cases,
        indices: NDArray[np.int64],
        sampler: PatchSampler,
        seed: int,
        latents: StoredLatents | None = None,
    ) -> None:
        self.cases = cases
        self.sampler = sampler
        self.seed = seed
        self.latents = latents
        # Patch number -> case: the first patch number of each case, then the end.
        count = lru_cache(maxsize=4096)(sampler.num_patches)
        counts = np.fromiter(map(count, cases.shapes(indices)), np.int64, len(indices))
        self.indices = indices
        self.starts = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        """Return the number of patches in an epoch."""
        return int(self.starts[-1])

    def case_of(self, draw: Draw) -> tuple[int, int]:
        """Return the number of a draw's case, and the draw's number among the case's patches."""
        position = int(np.searchsorted(self.starts, draw.index, side="right")) - 1
        return int(self.indices[position]), draw.index - int(self.starts[position])

    def case_id_of(self, patch: int) -> str:
        """Return the name of the case that a patch number belongs to."""
        return self.cases.case_id(self.case_of(Draw(0, patch, 0.0))[0])

    def __getitem__(self, draw: Draw) -> Patch:
        """Read the patch of a draw.

        Raises:
            VolumeError: its case cannot be read, and `on_error` is `fail`.
        """
        try:
            return self._patch(draw)
        except VolumeError as error:
            if self.cases.config.on_error == "fail":
                raise
            return self._substitute(draw, error)

    def _substitute(self, draw: Draw, error: VolumeError) -> Patch:
        """Return a patch of another case, chosen by (seed, epoch, index) alone."""
        generator = numpy_generator(self.seed, "substitute", draw.epoch, draw.index)
        missing = self.case_id_of(draw.index), error.reason
        for index in generator.integers(len(self), size=SUBSTITUTES).tolist():
            with contextlib.suppress(VolumeError):
                return replace(self._patch(replace(draw, index=index)), instead_of=missing)
        raise error

    def _patch(self, draw: Draw) -> Patch:
        case = self.cases[self.case_of(draw)[0]]
        region = self.region(draw)
        image = case.range.to_model(case.cut(region))
        return Patch(
            image=region.padded(image, PADDING),
            inside=region.inside(case.shape),
            weight=draw.weight,
            noise_seed=derive_seed(self.seed, "noise", draw.epoch, draw.index),
            latents=None if self.latents is None else self.latents.crop(case, region),
        )

    def region(self, draw: Draw) -> Region:
        """Return the region of a draw's patch in its case."""
        index, number = self.case_of(draw)
        case = self.cases[index]
        threshold = getattr(self.sampler, "threshold", None)
        region = self.sampler.region(
            case.shape,
            number,
            numpy_generator(self.seed, "patch", draw.epoch, draw.index),
            partial(case.foreground_voxel, threshold),
        )
        return region if self.latents is None else self.latents.aligned(region, case.shape)


@dataclass(frozen=True)
class Batch:
    """Patches of one size: `images` (B, C, *size), and for each its size without padding,
    its weight in the step, and the seed of its posterior sample; `latents` if they are stored.

    `unread` maps each case that cannot be read to the reason; other patches replace its own.
    """

    images: Tensor
    inside: list[tuple[int, ...]]
    weights: Tensor
    noise_seeds: list[int]
    latents: LatentBatch | None = None
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def voxels(self) -> int:
        """The number of voxels of all images, of one channel."""
        return self.images[:, 0].numel()

    def split(self, count: int) -> list["Batch"]:
        """Return the patches in at most `count` batches: in order, of equal size or one more."""
        parts = np.array_split(np.arange(len(self.images)), count)
        ranges = [(int(part[0]), int(part[-1]) + 1) for part in parts if len(part)]
        return [
            Batch(
                images=self.images[first:end],
                inside=self.inside[first:end],
                weights=self.weights[first:end],
                noise_seeds=self.noise_seeds[first:end],
                latents=self.latents and self.latents.part(first, end),
            )
            for first, end in ranges
        ]

    def generators(self) -> list[torch.Generator]:
        """Return one generator for each patch, to sample its posterior."""
        return [torch.Generator().manual_seed(seed) for seed in self.noise_seeds]

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, which a GPU can copy from while it computes."""
        images, weights = self.images.pin_memory(), self.weights.pin_memory()
        latents = self.latents and self.latents.pin_memory()
        return replace(self, images=images, weights=weights, latents=latents)


def collate(patches: list[Patch]) -> list[Batch]:
    """Return patches as batches of equal shape, since volumes of different shapes are not padded.

    Raises:
        DataError: the channels differ from case to case.
    """
    if len({patch.image.shape[0] for patch in patches}) > 1:
        raise DataError("the cases have different numbers of channels")
    by_shape: dict[tuple[int, ...], list[Patch]] = {}
    for patch in patches:
        box = () if patch.latents is None else tuple(patch.latents.mean.shape)
        by_shape.setdefault((*patch.image.shape, *box), []).append(patch)
    return [
        Batch(
            images=torch.stack([patch.image for patch in group]),
            inside=[patch.inside for patch in group],
            weights=torch.tensor([patch.weight for patch in group]),
            noise_seeds=[patch.noise_seed for patch in group],
            latents=LatentBatch.of([patch.latents for patch in group]),
            unread=dict(patch.instead_of for patch in group if patch.instead_of),
        )
        for group in by_shape.values()
    ]
