"""The scores of a reconstruction by name: values, units and which direction is better."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vae3d.scoring.config import METRICS
from vae3d.scoring.measure import Errors
from vae3d.scoring.metrics import Scale
from vae3d.scoring.staircase import FLOAT32_JUMP

SEAM = "seam"
"""Name of the seam score. Its best value is 1: below 1 the error is smoother across borders than
next to them, which is a visible border too."""
PERCEPTUAL = "perceptual"
"""Name of the distance in features of a network, LPIPS with its weights."""
SEAM_PLACES = 3
"""Decimals of the seam score."""
PLANES_PER_SIDE = 3
"""Planes on either side that a border is compared with."""


def scored(metrics: Sequence[str], errors: Errors, scale: Scale) -> dict[str, float]:
    """Return the metrics by name, without those that are undefined for lack of voxels."""
    if not errors.voxels:
        return {}
    values = {name: METRICS[name].of(errors, scale) for name in metrics}
    return {name: value for name, value in values.items() if not math.isnan(value)}


def unit_of(name: str, unit: str) -> str:
    """Return the unit of a score (`psnr`, `mae/bone`, `psnr@floor`, `seam`) of scans in `unit`."""
    metric = METRICS.get(metric_of(name))
    return metric.unit.format(unit=unit) if metric else ""


def better_of(name: str) -> int:
    """Return 1 if more of a score is better, -1 if less is better, 0 if nearer to 1 is better."""
    plain = metric_of(name)
    if plain == SEAM:
        return 0
    return METRICS[plain].better if plain in METRICS else -1


def metric_of(name: str) -> str:
    """Return the metric of a score, as `psnr` of `psnr/bone@floor`."""
    return name.split("/")[0].split("@")[0]


def label_of(name: str) -> str:
    """Return the name of a score for people: `PSNR`, `PSNR (bone)`, `MAE (floor)`, `Seam`."""
    plain = metric_of(name)
    label = METRICS[plain].label if plain in METRICS else ""
    parts = name[len(plain) :].replace("_", " ").replace("/", " ").replace("@", " ").split()
    label = label or plain.replace("_", " ").capitalize()
    return f"{label} ({' '.join(parts)})" if parts else label


def places_of(name: str) -> int | None:
    """Return the decimals of a score; None for four significant digits."""
    plain = metric_of(name)
    if plain == SEAM:
        return SEAM_PLACES
    return METRICS[plain].places if plain in METRICS else None


def bounds_of(name: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a score can have."""
    plain = metric_of(name)
    if plain in (SEAM, PERCEPTUAL):
        return 0.0, math.inf
    if plain not in METRICS:
        return -math.inf, math.inf
    return METRICS[plain].lowest, METRICS[plain].highest


def worth_bounds(name: str) -> tuple[float, float]:
    """Return the lowest and the highest `worth` that a score can have."""
    low, high = bounds_of(name)
    return {1: (low, high), -1: (-high, -low)}.get(better_of(name), (-math.inf, 0.0))


def score_text(name: str, value: float) -> str:
    """Return the value of a score with the digits that are sensible for it; `-` for NaN."""
    places = places_of(name)
    if places is None or not math.isfinite(value):
        return significant(value)
    return f"{value:.{places}f}"


def difference_text(name: str, value: float) -> str:
    """Return a difference of a score, signed, with the digits of the score; `-` for NaN."""
    places = places_of(name)
    if not value:
        return "0"
    if places is None or not math.isfinite(value) or 0 < abs(value) < 0.5 * 10**-places:
        return significant(value, "+")
    return f"{value:+.{places}f}"


def significant(value: float, sign: str = "") -> str:
    """Return a number with four digits, `-` for NaN; with `sign="+"` positive ones have a sign."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "\N{INFINITY}" if value > 0 else "-\N{INFINITY}"
    if value and math.isfinite(value) and 1e-4 <= abs(value) < 1e6:
        places = max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:{sign},.{places}f}"
    return f"{value:{sign}.3g}"


def unit_text(unit: str) -> str:
    """Return a unit as it is printed: `HU^2`, as files have it, is HU²."""
    return unit.replace("^2", "\N{SUPERSCRIPT TWO}")


def worth(name: str, value: float) -> float:
    """Return a score as a number of which more is better."""
    return better_of(name) * value if better_of(name) else -abs(value - 1)


def seam_score(image: Tensor, other: Tensor, borders: Sequence[Sequence[int]]) -> float:
    """Return the jump of the error of `other` across patch borders, relative to nearby planes.

    Images are (C, *spatial). `borders` are, along each axis, the planes at which a patch begins or
    ends inside the image. The jump at plane i is the mean of |e[i] - e[i - 1]|, where e is the
    error. A score of 1 means that no seam is visible; it is also that of an image without borders
    and of a perfect copy.
    """
    across = nearby = 0.0
    for axis, planes in enumerate(borders, start=1):
        length, at = image.shape[axis], {*planes}
        for plane in planes:
            candidates = range(plane - PLANES_PER_SIDE, plane + PLANES_PER_SIDE + 1)
            near = [i for i in candidates if 0 < i < length and i not in at]
            if not near:
                continue
            start = min(near[0], plane)
            jumps = _jumps(image, other, axis, start, max(near[-1], plane))
            across += jumps[plane - start]
            nearby += sum(jumps[i - start] for i in near) / len(near)
    return (across + FLOAT32_JUMP) / (nearby + FLOAT32_JUMP)


def _jumps(image: Tensor, other: Tensor, axis: int, first: int, last: int) -> list[float]:
    """Return the jumps at the planes from `first` to `last`."""
    place = axis, first - 1, last - first + 2
    jumps = (other.narrow(*place) - image.narrow(*place)).diff(dim=axis).abs_()
    rest = [n for n in range(jumps.dim()) if n != axis]
    means: list[float] = jumps.mean(dim=rest, dtype=torch.float64).tolist()
    return means
