"""SSIM and MS-SSIM in two and three dimensions, for the loss and for the scores."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(first: Tensor, second: Tensor, data_range: float) -> Tensor:
    """Mean structural similarity of each pair of images (B, C, *spatial), as (B,).

    Wang et al. 2004 (IEEE TIP 13:600), equation 13: Gaussian window of 11 and sigma 1.5 along
    each axis, population covariance, only windows that lie inside the image. Along an axis
    thinner than the window the window is the largest odd one that fits.
    """
    luminance, structure = _similarity(first, second, data_range)
    return (luminance * structure).flatten(1).mean(dim=1)


def ms_ssim(first: Tensor, second: Tensor, data_range: float) -> Tensor:
    """Multi-scale structural similarity of each pair of images (B, C, *spatial), as (B,).

    Wang et al. 2003 (Asilomar, equation 7): contrast and structure at up to five scales, each
    half as fine along every axis that has more than one voxel, luminance at the last. Images too
    small for five scales take as many as leave a whole window, their weights scaled to a sum of
    one. Negative similarities count as zero.
    """
    weights = torch.tensor(SCALE_WEIGHTS[: _num_scales(first)], dtype=torch.float64)
    exponents = (weights / weights.sum()).tolist()
    product = torch.ones(first.shape[0], dtype=first.dtype, device=first.device)
    for scale, exponent in enumerate(exponents):
        luminance, structure = _similarity(first, second, data_range)
        last = scale == len(exponents) - 1
        value = (luminance * structure if last else structure).flatten(1).mean(dim=1)
        # The root of zero has no gradient.
        product = product * value.clamp(min=1e-6) ** exponent
        if not last:
            first, second = _halved(first), _halved(second)
    return product


def _similarity(first: Tensor, second: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean1, mean2 = smooth(first), smooth(second)
    variance1 = smooth(first * first) - mean1 * mean1
    variance2 = smooth(second * second) - mean2 * mean2
    covariance = smooth(first * second) - mean1 * mean2
    luminance = (2 * mean1 * mean2 + c1) / (mean1 * mean1 + mean2 * mean2 + c1)
    return luminance, (2 * covariance + c2) / (variance1 + variance2 + c2)


def _num_scales(image: Tensor) -> int:
    smallest = min([n for n in image.shape[2:] if n > 1], default=1)
    scales = 1
    while scales < len(SCALE_WEIGHTS) and smallest // 2**scales >= WINDOW:
        scales += 1
    return scales


def _halved(image: Tensor) -> Tensor:
    sides = [min(2, n) for n in image.shape[2:]]
    return {2: F.avg_pool2d, 3: F.avg_pool3d}[len(sides)](image, sides)


def smooth(image: Tensor) -> Tensor:
    """(B, C, *spatial) averaged under the window, axis by axis, without its border."""
    for axis in range(2, image.dim()):
        kernel = gaussian_window(image.shape[axis]).to(image)
        if kernel.numel() == 1:
            continue
        moved = image.movedim(axis, -1)
        rows = F.conv1d(moved.reshape(-1, 1, moved.shape[-1]), kernel[None, None])
        image = rows.reshape(*moved.shape[:-1], -1).movedim(-1, axis)
    return image


def gaussian_window(length: int) -> Tensor:
    """The normalised window for an axis of this length, in float64."""
    size = min(WINDOW, length - 1 + length % 2)
    offset = torch.arange(size, dtype=torch.float64) - size // 2
    weight = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    return weight / weight.sum()
