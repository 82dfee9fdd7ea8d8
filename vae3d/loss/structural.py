"""SSIM and MS-SSIM in two and three dimensions, for the loss and for the scores."""

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
    return similarity(*(Blurred.of(image, data_range, low) for image in (first, second)))


@dataclass(frozen=True)
class Blurred:
    """What an image (B, C, *spatial) brings to the comparison with any other.

    Under every window inside of it the `mean`, and `light`, the mean above the least value that
    there may be. `light_share` and `variance_share` are its parts of the denominators of equation
    13, by half: (light^2 + C1 / 2) / 2 and (variance + C2 / 2) / 2. What belongs to one image is
    computed once for all that it is compared with.
    """

    image: Tensor
    mean: Tensor
    light: Tensor
    light_share: Tensor
    variance_share: Tensor
    constants: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, image: Tensor, data_range: float, low: float) -> "Blurred":
        """The image, blurred twice; `low` is its least value."""
        c1, c2 = (image.new_full((), (k * data_range) ** 2 / 2) for k in (K1, K2))
        mean = smooth(image)
        # Variances are exacter around zero: only for the luminance does it matter where it lies.
        light = mean - low if low else mean
        light_share = torch.addcmul(c1 / 2, light, light, value=0.5)
        variance = smooth(image * image).addcmul(mean, mean, value=-1)
        variance_share = torch.add(c2 / 2, variance, alpha=0.5)
        return cls(image, mean, light, light_share, variance_share, (c1, c2))


def similarity(first: Blurred, second: Blurred) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure of every window inside of two images."""
    c1, c2 = first.constants
    luminance = torch.addcmul(c1, first.light, second.light)
    products = smooth(first.image * second.image)
    structure = products.addcmul(first.mean, second.mean, value=-1).add_(c2)
    return (
        luminance / (first.light_share + second.light_share),
        structure / (first.variance_share + second.variance_share),
    )


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
