"""SSIM and MS-SSIM in 2D and 3D, for the loss and for the scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from vae3d.loss.blur import WINDOW, smooth

K1, K2 = 0.01, 0.03
"""Constants of SSIM that keep its denominators from zero (Wang et al. 2004)."""
MODEL_RANGE = 2.0
"""Width of the range [-1, 1] of images and reconstructions."""
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, finest first (Wang et al. 2003)."""


def ssim(first: Tensor, second: Tensor, data_range: float, low: float = 0.0) -> Tensor:
    """Return the mean structural similarity of each pair of images (B, C, *spatial), as (B,).

    Wang et al. 2004 (IEEE TIP 13:600), equation 13: Gaussian window of 11 and sigma 1.5 along
    each axis, population covariance, only windows inside the image. Along an axis thinner than the
    window, the window is the largest odd one that fits. `low` is the low end of the data range:
    luminance compares the means relative to it.
    """
    luminance, structure = _compare(first, second, data_range, low)
    return (luminance * structure).flatten(1).mean(dim=1)


def ms_ssim(first: Tensor, second: Tensor, data_range: float, low: float = 0.0) -> Tensor:
    """Return the multi-scale structural similarity of each pair (B, C, *spatial), as (B,).

    Wang et al. 2003 (Asilomar, equation 7): contrast and structure at up to five scales, luminance
    at the last. Each scale halves every axis that has more than one voxel. Images too small for
    five scales use `num_scales`, with weights scaled to a sum of one. Negative similarities count
    as zero.
    """
    weights = torch.tensor(SCALE_WEIGHTS[: num_scales(first)], dtype=torch.float64)
    exponents = (weights / weights.sum()).tolist()
    product = torch.ones(first.shape[0], dtype=first.dtype, device=first.device)
    for scale, exponent in enumerate(exponents):
        luminance, structure = _compare(first, second, data_range, low)
        last = scale == len(exponents) - 1
        value = (luminance * structure if last else structure).flatten(1).mean(dim=1)
        # A root of zero has an infinite gradient.
        product = product * value.clamp(min=1e-6) ** exponent
        if not last:
            first, second = halved(first), halved(second)
    return product


def _compare(
    first: Tensor, second: Tensor, data_range: float, low: float
) -> tuple[Tensor, Tensor]:
    """Return luminance and contrast-structure of every window of two images."""
    one, other = (
        WindowMoments.of(smooth(image), smooth(image * image), data_range, low)
        for image in (first, second)
    )
    return similarity(one, other, smooth(first * second), data_range)


@dataclass(frozen=True)
class WindowMoments:
    """The moments of one image under its windows, computed once for all its comparisons.

    `shifted_mean` is the mean minus `low` and `power` its square. `variance` and `power` include
    half of the SSIM constant that keeps the sum of two of them from zero.
    """

    mean: Tensor
    variance: Tensor
    shifted_mean: Tensor
    power: Tensor

    @classmethod
    def of(cls, mean: Tensor, square: Tensor, data_range: float, low: float) -> "WindowMoments":
        """Return the moments, given the means and the mean squares under the windows."""
        c1, c2 = _constants(data_range)
        # Only luminance depends on the position of zero. Variances are computed around the
        # original zero, where float32 is more accurate.
        shifted = mean - low if low else mean
        return cls(mean, square - mean * mean + c2 / 2, shifted, shifted * shifted + c1 / 2)


def similarity(
    first: WindowMoments, second: WindowMoments, product: Tensor, data_range: float
) -> tuple[Tensor, Tensor]:
    """Return luminance and contrast-structure of windows, given the means of the product."""
    c1, c2 = _constants(data_range)
    means = first.shifted_mean * second.shifted_mean
    luminance = (2 * means + c1) / (first.power + second.power)
    covariance = product - first.mean * second.mean
    return luminance, (2 * covariance + c2) / (first.variance + second.variance)


def _constants(data_range: float) -> tuple[float, float]:
    """Return C1 and C2 of SSIM."""
    return (K1 * data_range) ** 2, (K2 * data_range) ** 2


def num_scales(image: Tensor) -> int:
    """Return the number of MS-SSIM scales that hold a whole window, at most five.

    `image` is (B, C, *spatial).
    """
    smallest = min([n for n in image.shape[2:] if n > 1], default=1)
    halvings = range(1, len(SCALE_WEIGHTS))
    return 1 + sum((smallest >> n) >= WINDOW for n in halvings)


def halved(image: Tensor) -> Tensor:
    """Return (B, C, *spatial) averaged by 2 along every axis that has more than one voxel."""
    scale = 1.0
    for axis in range(2, image.dim()):
        if pairs := image.shape[axis] // 2:
            # Adding every second plane takes a quarter of the time of torch's pooling on a CPU.
            planes = image.movedim(axis, 0)[: 2 * pairs]
            image = (planes[::2] + planes[1::2]).movedim(0, axis)
            scale /= 2
    return image * scale


def one_minus_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return 1 - SSIM of each case, (B,)."""
    return 1 - ssim(reconstruction, image, MODEL_RANGE, low=-1)


def one_minus_ms_ssim(reconstruction: Tensor, image: Tensor) -> Tensor:
    """Return 1 - MS-SSIM of each case, (B,)."""
    return 1 - ms_ssim(reconstruction, image, MODEL_RANGE, low=-1)
