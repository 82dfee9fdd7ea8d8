"""SSIM and MS-SSIM in two and three dimensions, for the loss and for the scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.loss.blur import WINDOW, smooth

K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(first: Tensor, second: Tensor, data_range: float, low: float = 0.0) -> Tensor:
    """Mean structural similarity of each pair of images (B, C, *spatial), as (B,).

    Wang et al. 2004 (IEEE TIP 13:600), equation 13: Gaussian window of 11 and sigma 1.5 along
    each axis, population covariance, only windows that lie inside the image. Along an axis
    thinner than the window the window is the largest odd one that fits. `low` is the least value
    that there may be: luminance compares means above it, as shares of each other.
    """
    luminance, structure = _compared(first, second, data_range, low)
    return (luminance * structure).flatten(1).mean(dim=1)


def ms_ssim(first: Tensor, second: Tensor, data_range: float, low: float = 0.0) -> Tensor:
    """Multi-scale structural similarity of each pair of images (B, C, *spatial), as (B,).

    Wang et al. 2003 (Asilomar, equation 7): contrast and structure at up to five scales, each
    half as fine along every axis that has more than one voxel, luminance at the last. Images too
    small for five scales take as many as leave a whole window, their weights scaled to a sum of
    one. Negative similarities count as zero.
    """
    weights = torch.tensor(SCALE_WEIGHTS[: num_scales(first)], dtype=torch.float64)
    exponents = (weights / weights.sum()).tolist()
    product = torch.ones(first.shape[0], dtype=first.dtype, device=first.device)
    for scale, exponent in enumerate(exponents):
        luminance, structure = _compared(first, second, data_range, low)
        last = scale == len(exponents) - 1
        value = (luminance * structure if last else structure).flatten(1).mean(dim=1)
        # The root of zero has no gradient.
        product = product * value.clamp(min=1e-6) ** exponent
        if not last:
            first, second = halved(first), halved(second)
    return product


def _compared(
    first: Tensor, second: Tensor, data_range: float, low: float
) -> tuple[Tensor, Tensor]:
    return similarity(moments(Blurred.of(first), Blurred.of(second)), data_range, low)


@dataclass(frozen=True)
class Blurred:
    """An image (B, C, *spatial), its mean and its mean square under every window inside of it."""

    image: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Blurred":
        """The image, blurred twice: what it brings to the comparison with any other."""
        return cls(image, smooth(image), smooth(image * image))


def moments(first: Blurred, second: Blurred) -> Sequence[Tensor]:
    """Under every window both means, both mean squares and the mean product."""
    product = smooth(first.image * second.image)
    return first.mean, second.mean, first.square, second.square, product


def similarity(known: Sequence[Tensor], data_range: float, low: float) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure of windows, given their `moments`, in any shape."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean1, mean2, square1, square2, product = known
    means, squares = mean1 * mean2, mean1 * mean1 + mean2 * mean2
    covariance = product - means
    variances = square1 + square2 - squares
    if low:
        # Only here does it matter where zero lies; variances are exacter around it.
        mean1, mean2 = mean1 - low, mean2 - low
        means, squares = mean1 * mean2, mean1 * mean1 + mean2 * mean2
    luminance = (2 * means + c1) / (squares + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def num_scales(image: Tensor) -> int:
    """How many scales of MS-SSIM an image (B, C, *spatial) has room for, at most five."""
    smallest = min([n for n in image.shape[2:] if n > 1], default=1)
    scales = 1
    while scales < len(SCALE_WEIGHTS) and smallest // 2**scales >= WINDOW:
        scales += 1
    return scales


def halved(image: Tensor) -> Tensor:
    """(B, C, *spatial) half as fine along every axis that has more than one voxel."""
    sides = [min(2, n) for n in image.shape[2:]]
    return {2: F.avg_pool2d, 3: F.avg_pool3d}[len(sides)](image, sides)
