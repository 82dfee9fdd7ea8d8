"""`SetScore`: a score of all reconstructions together against all scans; SWD is one."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Protocol

from torch import Generator, Tensor

from vae3d.scoring.wasserstein import patches_per_image, sample_patches, sliced_wasserstein


class SetScore(Protocol):
    """A score of two sets of images, of which only what it needs of each image is kept."""

    def describe(self, image: Tensor, generator: Generator, images: int) -> Any:
        """Return what is kept of an image (C, *spatial) in [-1, 1], one of `images` of a set.

        It can be pickled, and depends on the image and the state of the generator alone. That of a
        scan and its reconstruction is the same.
        """
        ...

    def compare(self, scans: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
        """Return the parts of the score by name, the score itself as `mean`; nothing if undefined.

        Less is better.
        """
        ...


class SlicedWasserstein:
    """The sliced Wasserstein distance of patches, for each level of a Laplacian pyramid."""

    def describe(self, image: Tensor, generator: Generator, images: int) -> Any:
        """Return projected patches of an image."""
        return sample_patches(image, patches_per_image(images), generator)

    def compare(self, scans: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
        """Return the distance of each level, by the size of its voxels in those of the image."""
        levels = sliced_wasserstein(scans, others)
        # Nothing to compare where the scans are empty or the model has diverged.
        if not levels or not all(map(math.isfinite, levels)):
            return {}
        return {
            "mean": fmean(levels),
            **{f"voxels_{2**level}": value for level, value in enumerate(levels)},
        }


SWD = SlicedWasserstein()
