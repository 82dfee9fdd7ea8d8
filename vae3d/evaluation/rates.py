"""Rate and distortion: the codecs of `evaluation.baselines` at several rates, next to the VAE."""

import csv
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae3d.charts.drawing import Drawing, Point
from vae3d.charts.rates import rate_chart
from vae3d.files.atomic import atomic_write
from vae3d.pictures.figures import CaseView
from vae3d.runtime.messages import counted
from vae3d.runtime.progress import Progress
from vae3d.scoring.config import BASELINES

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Rates of the codecs, as multiples of that of the latent."""
MAX_VOXELS = 2**20
"""Voxels of a case that are coded, at most: the middle of larger ones."""
MODEL = "VAE"
"""Name of the model in the chart and the table."""
LABELS = {
    "downsample": "downsampling",
    "jpeg": "JPEG",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_3d": "JPEG 2000, 3D",
}
"""Names of codecs in the chart."""
CSV, PNG = "rates.csv", "rates.png"
PNG_SCALE = 2.0
"""Pixels of the PNG per unit of the drawing."""


@dataclass(frozen=True)
class RatePoint:
    """What a codec, or the VAE, makes of a case when asked for `factor` times the latent's bits.

    `bits_per_voxel` is what it takes, `psnr` in dB is that of the middle of the case.
    """

    case_id: str
    codec: str
    factor: float
    bits_per_voxel: float
    psnr: float


def measured(
    views: Sequence[CaseView],
    bits_per_voxel: Sequence[float],
    codecs: Sequence[str],
    progress: Progress,
) -> list[RatePoint]:
    """Return the results of the VAE and of the codecs for each case at all FACTORS.

    `bits_per_voxel` are those of the latent of each case.
    """
    points = []
    progress.start(0, len(views) * len(codecs) * len(FACTORS))
    for view, rate in zip(views, bits_per_voxel, strict=True):
        image, other = (
            _middle(_to_model(values, view)) for values in (view.original, view.reconstruction)
        )
        points.append(RatePoint(view.title, MODEL, 1.0, rate, _psnr(image, other)))
        for codec, factor in product(codecs, FACTORS):
            coded = BASELINES[codec](image, int(factor * rate * image.numel()))
            used = coded.bits / image.numel()
            quality = _psnr(image, coded.image)
            points.append(RatePoint(view.title, codec, factor, used, quality))
            progress.advance()
    progress.close()
    return points


def write_rates(folder: Path, points: Sequence[RatePoint]) -> dict[str, str]:
    """Write the table and the chart as PNG; return the chart (`svg`) with a sentence (`text`)."""
    with (
        atomic_write(folder / CSV) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows([[f.name for f in fields(RatePoint)], *map(astuple, points)])
    chart = drawn(points)
    with atomic_write(folder / PNG) as temporary:
        chart.picture(PNG_SCALE).save(temporary, "png")
    count = len({point.case_id for point in points})
    text = (
        f"PSNR in dB over bits per voxel, of {counted(count)}: the VAE with a latent in float16, "
        f"and codecs at {', '.join(f'{factor:g}' for factor in FACTORS)} times its bits. Of cases "
        f"with more than {MAX_VOXELS:,} voxels the middle is coded."
    )
    return {"svg": chart.svg(text), "text": text}


def drawn(points: Sequence[RatePoint]) -> Drawing:
    """Return the chart of the means over the cases; results without a finite PSNR are left out."""
    curves = {}
    for codec in dict.fromkeys(point.codec for point in points):
        means = [_mean([p for p in points if (p.codec, p.factor) == (codec, f)]) for f in FACTORS]
        # A codec that cannot do with less takes the same bits at several factors.
        curves[codec] = [*dict.fromkeys(mean for mean in means if mean)]
    own = curves.pop(MODEL, [])
    named = [(LABELS.get(codec, codec), places) for codec, places in curves.items()]
    return rate_chart(named, (MODEL, own[0]) if own else None)


def _mean(points: Sequence[RatePoint]) -> Point | None:
    """Return the mean bits and PSNR of the results with a finite PSNR, None if there are none."""
    known = [point for point in points if math.isfinite(point.psnr)]
    if not known:
        return None
    return fmean(point.bits_per_voxel for point in known), fmean(point.psnr for point in known)


def _to_model(values: NDArray[np.float32], view: CaseView) -> Tensor:
    """Return values in the units of the scan in [-1, 1], as (1, *spatial)."""
    scaled = (values.astype(np.float32) - view.low) / (view.high - view.low)
    return torch.from_numpy(scaled.clip(0, 1) * 2 - 1)[None]


def _middle(image: Tensor) -> Tensor:
    """Return the middle of an image (1, *spatial), of the same form and at most MAX_VOXELS."""
    share = (MAX_VOXELS / image.numel()) ** (1 / (image.dim() - 1))
    for axis in range(1, image.dim()):
        length = image.shape[axis]
        size = length if share >= 1 else max(1, math.floor(length * share))
        image = image.narrow(axis, (length - size) // 2, size)
    return image.contiguous()


def _psnr(image: Tensor, other: Tensor) -> float:
    squared = float((image.double() - other.double()).square().mean())
    return 10 * math.log10(4 / squared) if squared > 0 else math.nan if squared else math.inf
