"""`feature_distance`: how far apart the features of two images are."""

import torch
from torch import Tensor

from vae3d.features.extractor import FeatureExtractor

EPSILON = 1e-10
"""Added to the squared length of the features of a voxel, as in MONAI: it may be zero."""


def feature_distance(extractor: FeatureExtractor, image: Tensor, reference: Tensor) -> Tensor:
    """Return the distance of each image from its reference, (B,), differentiable in the image.

    Both are (B, C, *spatial) in [-1, 1]. The features of a voxel are divided by their length over
    the channels, and their squared differences are weighted by channel, averaged over the voxels
    and added up over the layers: Zhang et al. 2018 (arXiv:1801.03924), equation 1. Without the
    weights of LPIPS all of them are 1.
    """
    with torch.no_grad():
        expected = extractor(reference)
    features = extractor(image)
    total = image.new_zeros(len(image))
    for found, wanted, head in zip(features, expected, extractor.heads(features), strict=True):
        difference = (of_unit_length(found) - of_unit_length(wanted)).square()
        total = total + difference.flatten(2).mean(dim=2) @ head
    return total


def of_unit_length(features: Tensor) -> Tensor:
    """Return features (B, C, *spatial) with length 1 over the channels at each voxel."""
    return features / (features.square().sum(dim=1, keepdim=True) + EPSILON).sqrt()
