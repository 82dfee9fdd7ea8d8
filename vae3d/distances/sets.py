"""`SetScore`: a score of all reconstructions together against all scans; SWD is one."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Protocol

import numpy as np
from torch import Generator, Tensor

from vae3d.distances.frechet import frechet_distance
from vae3d.distances.radiomics import radiomics
from vae3d.distances.wasserstein import patches_per_image, sample_patches, sliced_wasserstein


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


class RadiomicsDistance:
    """The Fréchet distance of radiomics features of regions, in deviations of those of the scans.

    The idea is that of Osuala et al. 2024 (arXiv:2403.13890); the features are a small set, so
    that its values are not those of other programs.
    """

    def describe(self, image: Tensor, generator: Generator, images: int) -> Any:
        """Return the features (regions, features) of an image, float64."""
        return radiomics(image.float().cpu().numpy())

    def compare(self, scans: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
        """Return the distance; nothing for fewer regions than a covariance needs."""
        first, second = (np.concatenate(features) for features in (scans, others))
        if min(len(first), len(second)) < 2 or not np.isfinite(second).all():
            return {}
        spread = first.std(axis=0)
        # Features that are the same in all scans have no scale to judge by.
        known = spread > 0
        if not known.any():
            return {}
        first, second = (values[:, known] / spread[known] for values in (first, second))
        return {"mean": math.sqrt(frechet_distance(first, second)), "regions": float(len(first))}


SWD = SlicedWasserstein()
FRECHET_RADIOMICS = RadiomicsDistance()
