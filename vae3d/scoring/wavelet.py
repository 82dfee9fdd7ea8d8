"""The 9/7 wavelet along the slices of a volume: the transform of JPEG 2000, in the third axis."""

import torch
from torch import Tensor

LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
"""Factors of the four lifting steps (ISO/IEC 15444-1, table F.4)."""
SCALING = 1.230174104914001
"""Factor of the low band, and the inverse of that of the high band: the transform then nearly
keeps squared errors."""


def analysed(values: Tensor, levels: int) -> Tensor:
    """Return the wavelet bands of values (C, D, ...) along D, the coarsest one first.

    The axis keeps its length. An axis of one slice has no further level.
    """
    low, high = values, []
    for _ in range(levels):
        if low.shape[1] < 2:
            break
        low, detail = _split(low)
        high.append(detail)
    return torch.cat([low, *reversed(high)], dim=1)


def synthesised(bands: Tensor, levels: int) -> Tensor:
    """Return the values whose bands `analysed` returns for the same number of levels."""
    lengths = [bands.shape[1]]
    while len(lengths) <= levels and lengths[-1] > 1:
        lengths.append(-(-lengths[-1] // 2))
    values = bands[:, : lengths[-1]]
    for whole in reversed(lengths[:-1]):
        values = _joined(values, bands[:, values.shape[1] : whole])
    return values


def _split(values: Tensor) -> tuple[Tensor, Tensor]:
    even, odd = values[:, 0::2].clone(), values[:, 1::2].clone()
    for first, second in (LIFTING[:2], LIFTING[2:]):
        odd += first * _around_odd(even, odd.shape[1])
        even += second * _around_even(odd, even.shape[1])
    return even * SCALING, odd / SCALING


def _joined(low: Tensor, high: Tensor) -> Tensor:
    even, odd = low / SCALING, high * SCALING
    for first, second in (LIFTING[2:], LIFTING[:2]):
        even -= second * _around_even(odd, even.shape[1])
        odd -= first * _around_odd(even, odd.shape[1])
    values = even.new_empty(even.shape[0], even.shape[1] + odd.shape[1], *even.shape[2:])
    values[:, 0::2], values[:, 1::2] = even, odd
    return values


def _around_odd(even: Tensor, count: int) -> Tensor:
    """Return the sums of the even neighbours of odd slices; the ends are mirrored."""
    following = torch.cat([even[:, 1:], even[:, -1:]], dim=1)
    return even[:, :count] + following[:, :count]


def _around_even(odd: Tensor, count: int) -> Tensor:
    """Return the sums of the odd neighbours of even slices; the ends are mirrored."""
    both = torch.cat([odd[:, :1], odd, odd[:, -1:]], dim=1)
    return both[:, :count] + both[:, 1 : count + 1]
