"""`radiomics`: what regions of an image look like, as the numbers of first-order and texture.

The definitions are those of the image biomarker standardisation initiative (Zwanenburg et al.
2020, 10.1148/radiol.2020191145), with a fixed number of equal bins over [-1, 1].
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

BINS = 32
"""Grey levels of histograms and of co-occurrences."""
REGION = 32
"""Voxels of a region along each axis, or all that the image has."""
FIRST_ORDER = ("mean", "deviation", "skewness", "kurtosis", "entropy")
TEXTURE = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "joint_entropy")
FEATURES = (*FIRST_ORDER, *TEXTURE)
"""The features of a region, in this order."""
MIN_DEVIATION = 1e-6
"""Deviation on [-1, 1] below which a region is even: it has no shape of its values."""

Floats = NDArray[np.float64]


def radiomics(image: NDArray[np.float32]) -> Floats:
    """Return the features (regions, FEATURES) of an image (C, *spatial) in [-1, 1].

    Regions of REGION voxels a side are next to each other in the middle of the image, in each
    channel. Even regions, as of air, are left out: nothing in them could look different.
    """
    shape = image.shape[1:]
    sides = [min(REGION, n) for n in shape]
    starts = [
        [(n % side) // 2 + side * place for place in range(n // side)]
        for n, side in zip(shape, sides, strict=True)
    ]
    rows = []
    for channel, corner in product(image, product(*starts)):
        cut = tuple(slice(at, at + side) for at, side in zip(corner, sides, strict=True))
        region = channel[cut].astype(np.float64)
        if region.std() >= MIN_DEVIATION:
            rows.append([*first_order(region), *texture(region)])
    return np.array(rows, np.float64).reshape(-1, len(FEATURES))


def first_order(region: Floats) -> list[float]:
    """Return the features of FIRST_ORDER of a region of any shape that is not even."""
    deviations = region.ravel() - region.mean()
    spread = math.sqrt(float(np.square(deviations).mean()))
    scaled = deviations / spread
    shares = np.bincount(_binned(region).ravel(), minlength=BINS) / region.size
    return [
        float(region.mean()),
        spread,
        float((scaled**3).mean()),
        float((scaled**4).mean()) - 3,
        _entropy(shares),
    ]


def texture(region: Floats) -> list[float]:
    """Return the features of TEXTURE of a region, of the mean of its axes' co-occurrences."""
    levels = _binned(region)
    matrices = [
        matrix
        for axis in range(region.ndim)
        if region.shape[axis] > 1
        for matrix in [co_occurrences(levels, axis)]
    ]
    shares = np.mean(matrices, axis=0)
    i, j = np.indices(shares.shape)
    centre = float((i * shares).sum())
    variance = float((np.square(i - centre) * shares).sum())
    covariance = float(((i - centre) * (j - centre) * shares).sum())
    return [
        float((np.square(i - j) * shares).sum()),
        float((np.abs(i - j) * shares).sum()),
        float((shares / (1 + np.square(i - j))).sum()),
        float(np.square(shares).sum()),
        covariance / variance if variance > 0 else 1.0,
        _entropy(shares.ravel()),
    ]


def co_occurrences(levels: NDArray[np.int64], axis: int) -> Floats:
    """Return how often levels are neighbours along an axis, as shares (BINS, BINS), symmetric."""
    length = levels.shape[axis]
    before, after = (np.take(levels, range(at, at + length - 1), axis) for at in (0, 1))
    pairs = np.bincount((before * BINS + after).ravel(), minlength=BINS * BINS)
    counts = pairs.reshape(BINS, BINS).astype(np.float64)
    counts += counts.T
    return np.asarray(counts / counts.sum(), np.float64)


def _binned(region: Floats) -> NDArray[np.int64]:
    """Return the grey level of each voxel, 0 to BINS - 1."""
    return np.clip(np.floor((region + 1) / 2 * BINS), 0, BINS - 1).astype(np.int64)


def _entropy(shares: Floats | Sequence[float]) -> float:
    """Return the entropy of shares in bits."""
    present = np.asarray(shares)[np.asarray(shares) > 0]
    return float(-(present * np.log2(present)).sum())
