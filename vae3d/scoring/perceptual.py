"""Scores in features of a frozen network: LPIPS of a case, the Frechet distance of two sets."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.errors import ConfigError
from vae3d.features.distance import feature_distance
from vae3d.features.extractor import FeatureExtractor
from vae3d.features.slices import plane_size, planes

SLICES = 16
"""Slices that pass through a network together."""


@torch.no_grad()
def perceptual_distance(
    extractor: FeatureExtractor, reconstruction: Tensor, image: Tensor, every: int = 1
) -> float:
    """Return the distance in features of images (1, C, *spatial) in [-1, 1].

    With the heads of LPIPS this is LPIPS. A volume that a 2D network sees has the mean over the
    planes of the mean over every n-th slice, so that its scale is that of a single image. Planes
    that are too small for the network are left out.

    Raises:
        ConfigError: the images are too small for the network.
    """
    pairs = zip(
        _passes(extractor, reconstruction, every), _passes(extractor, image, every), strict=True
    )
    by_axis: dict[int, list[Tensor]] = {}
    for (axis, of_reconstruction), (_, of_image) in pairs:
        distances = feature_distance(extractor, of_reconstruction, of_image)
        by_axis.setdefault(axis, []).append(distances.double())
    return float(torch.stack([torch.cat(parts).mean() for parts in by_axis.values()]).mean())


@dataclass(frozen=True)
class FeatureMoments:
    """The mean (C,) and covariance (C, C) of feature vectors, as sums that can be added.

    `products` is the sum of the outer products of the vectors, in float64.
    """

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> "FeatureMoments":
        """Return those of some vectors (n, C)."""
        values = vectors.double().cpu()
        return cls(len(values), values.sum(dim=0), values.T @ values)

    def __add__(self, other: "FeatureMoments") -> "FeatureMoments":
        """Return those of the vectors of both."""
        return FeatureMoments(
            self.count + other.count, self.total + other.total, self.products + other.products
        )

    @property
    def mean(self) -> Tensor:
        """The mean of the vectors."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """The unbiased covariance of the vectors, of which there must be two at least."""
        mean = self.mean
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


@torch.no_grad()
def feature_moments(extractor: FeatureExtractor, image: Tensor, every: int = 1) -> FeatureMoments:
    """Return the moments of the features of an image (1, C, *spatial) in [-1, 1].

    A vector is the mean over the voxels of the last compared layer, of a volume or of every n-th
    slice in each plane.

    Raises:
        ConfigError: the image is too small for the network.
    """
    vectors = [
        extractor(images)[-1].flatten(2).mean(dim=2)
        for _, images in _passes(extractor, image, every)
    ]
    return FeatureMoments.of(torch.cat(vectors))


def frechet_distance(first: FeatureMoments, second: FeatureMoments) -> float:
    """Return the Frechet distance of two normal distributions with these moments.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)): Dowson and Landau 1982, used for features of
    networks by Heusel et al. 2017 (arXiv:1706.08500, equation 6). It falls with the number of
    vectors, which must be equal where distances are compared.
    """
    # (S1 S2)^(1/2) has the trace of the root of a symmetric matrix: S1^(1/2) S2 S1^(1/2).
    values, vectors = torch.linalg.eigh(first.covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    inner = torch.linalg.eigvalsh(root @ second.covariance @ root)
    traces = first.covariance.trace() + second.covariance.trace()
    distance = (first.mean - second.mean).square().sum() + traces
    return max(0.0, float(distance - 2 * inner.clamp(min=0).sqrt().sum()))


def _passes(
    extractor: FeatureExtractor, image: Tensor, every: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield what passes through the network together, with the axis of the slices."""
    size = tuple(image.shape[2:])
    if len(size) == extractor.spatial_dims:
        if not extractor.takes(size):
            raise _too_small(extractor, size)
        yield 0, image
        return
    axes = [axis for axis in range(2, 5) if extractor.takes(plane_size(size, axis))]
    if not axes:
        raise _too_small(extractor, size)
    for axis in axes:
        # From the middle of the first group on, so that both borders are as near.
        numbers = torch.arange((image.shape[axis] - 1) % every // 2, image.shape[axis], every)
        for part in numbers.split(SLICES):
            yield axis, planes(image, axis, [part])


def _too_small(extractor: FeatureExtractor, size: tuple[int, ...]) -> ConfigError:
    least = " x ".join([str(extractor.input.least)] * extractor.spatial_dims)
    return ConfigError(
        f"{extractor.name.path}: {extractor.name.network} takes images of {least} voxels or more, "
        f"got {[*size]}"
    )
