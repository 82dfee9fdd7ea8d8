"""Scores in features of a frozen network: LPIPS of a case, the Fréchet distance of two sets."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from vae3d.distances.frechet import frechet_distance
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


class FeatureDistance:
    """The Fréchet distance of the features of a network, a score of a whole set of images.

    Heusel et al. 2017 (arXiv:1706.08500). A vector is the mean over the voxels of the last
    compared layer, of a volume or of every n-th slice along each axis. The distance falls with the
    number of vectors, which must be equal where distances are compared.
    """

    def __init__(self, extractor: FeatureExtractor, every: int) -> None:
        self.extractor = extractor
        self.every = every

    def describe(self, image: Tensor, generator: Generator, images: int) -> Any:
        """Return the vectors (n, channels) of an image, float32."""
        return feature_vectors(self.extractor, image[None], self.every).float().cpu().numpy()

    def compare(self, scans: Sequence[Any], others: Sequence[Any]) -> dict[str, float]:
        """Return the squared distance and the number of vectors of each set."""
        first, second = (np.concatenate(each).astype(np.float64) for each in (scans, others))
        if len(first) < 2 or not np.isfinite(second).all():
            return {}
        return {"mean": frechet_distance(first, second), "vectors": float(len(first))}


@torch.no_grad()
def feature_vectors(extractor: FeatureExtractor, image: Tensor, every: int = 1) -> Tensor:
    """Return the features (n, channels) of an image (1, C, *spatial) in [-1, 1].

    They are the means over the voxels of the last compared layer, of a volume or of every n-th
    slice along each axis.

    Raises:
        ConfigError: the image is too small for the network.
    """
    vectors = [
        extractor(images)[-1].flatten(2).mean(dim=2)
        for _, images in _passes(extractor, image, every)
    ]
    return torch.cat(vectors)


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
        for part in torch.split(numbers, SLICES):
            yield axis, planes(image, axis, [part])


def _too_small(extractor: FeatureExtractor, size: tuple[int, ...]) -> ConfigError:
    least = " x ".join([str(extractor.input.least)] * extractor.spatial_dims)
    return ConfigError(
        f"{extractor.name.path}: {extractor.name.network} takes images of {least} voxels or more, "
        f"got {[*size]}"
    )
