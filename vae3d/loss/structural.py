"""SSIM and MS-SSIM in two and three dimensions, for the loss and for the scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.loss.blur import WINDOW, smooth

K1, K2 = 0.01, 0.03
MODEL_RANGE = 2.0
"""Images and reconstructions lie in [-1, 1]."""
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
    one, other = (
        Seen.of(smooth(image), smooth(image * image), data_range, low) for image in (first, second)
    )
    return similarity(one, other, smooth(first * second), data_range)


@dataclass(frozen=True)
class Seen:
    """What an image brings, under windows of any shape, to each of its comparisons.

    `variance` and `power` (the square of the `lifted` mean, the one above `low`) come with half
    of the constant that keeps their sums from zero.
    """

    mean: Tensor
    variance: Tensor
    lifted: Tensor
    power: Tensor

    @classmethod
    def of(cls, mean: Tensor, square: Tensor, data_range: float, low: float) -> "Seen":
        """Of the means and the mean squares under the windows."""
        c1, c2 = _constants(data_range)
        # Only for luminance does it matter where zero lies; variances are exacter around it.
        lifted = mean - low if low else mean
        return cls(mean, square - mean * mean + c2 / 2, lifted, lifted * lifted + c1 / 2)


def similarity(
    first: Seen, second: Seen, product: Tensor, data_range: float
) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure of windows, given the means of the images' product."""
    c1, c2 = _constants(data_range)
    luminance = (2 * (first.lifted * second.lifted) + c1) / (first.power + second.power)
    covariance = product - first.mean * second.mean
    return luminance, (2 * covariance + c2) / (first.variance + second.variance)


def _constants(data_range: float) -> tuple[float, float]:
    return (K1 * data_range) ** 2, (K2 * data_range) ** 2


def num_scales(image: Tensor) -> int:
    """How many scales of MS-SSIM an image (B, C, *spatial) has room for, at most five."""
    smallest = min([n for n in image.shape[2:] if n > 1], default=1)
    scales = 1
    while scales < len(SCALE_WEIGHTS) and smallest // 2**scales >= WINDOW:
        scales += 1
    return scales


def halved(image: Tensor) -> Tensor:
    """(B, C, *spatial) half as fine along every axis that has more than one voxel."""
    scale = 1.0
    for axis in range(2, image.dim()):
        if pairs := image.shape[axis] // 2:
            # Sums of every second plane take a quarter of the time of torch's pooling on a CPU.
            planes = image.movedim(axis, 0)[: 2 * pairs]
            image = (planes[::2] + planes[1::2]).movedim(0, axis)
            scale /= 2
    return image * scale


def one_minus_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """1 - SSIM of each case, (B,)."""
    return 1 - ssim(reconstruction, image, MODEL_RANGE, low=-1)


def one_minus_ms_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """1 - MS-SSIM of each case, (B,)."""
    return 1 - ms_ssim(reconstruction, image, MODEL_RANGE, low=-1)
