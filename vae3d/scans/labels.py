"""Label maps: files of segmentations among scans, known by their names and their values."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vae3d.scans.formats import case_name
from vae3d.values.voxel_statistics import VoxelStatistics

FEW_LABELS = 32
"""Up to this number of whole values an image is a label map, whatever it looks like."""
MAX_LABELS = 1024
"""Most labels of a map whose neighbouring voxels are mostly equal; atlases of brains have 200."""
SAMPLED_VOXELS = 4096
"""Voxels of a scan that show that it has more values than a label map."""
_BEGINNINGS = ("label", "seg", "mask", "annotation")
_ENDS = ("label", "labels", "labelmap", "seg", "segs", "mask", "masks", "segmentation")
_WORDS = frozenset(
    [
        *("derivatives", "gt", "groundtruth", "truth", "roi", "rois", "contour", "contours"),
        *("lesion", "lesions", "parcellation", "parcellations", "parc", "aparc", "wmh"),
    ]
)


def label_name(path: str) -> str | None:
    """Return what in a path below the folder of scans suggests a label map, or None.

    Folders as `segmentations`, `labelsTr` or `derivatives`, and names as `a_seg` or `mask_a`.
    """
    *folders, name = PurePosixPath(case_name(path)).parts
    for part in folders:
        if _is_suspect(part):
            return f"folder {part}"
    return f"name {name}" if _is_suspect(name) else None


def _is_suspect(part: str) -> bool:
    words = [word.rstrip("0123456789") for word in re.split(r"[^a-z0-9]+", part.lower())]
    return any(
        word.startswith(_BEGINNINGS) or word.endswith(_ENDS) or word in _WORDS for word in words
    )


def label_values(voxels: NDArray[Any]) -> str | None:
    """Return in words the values of an array if they are those of a label map, else None.

    Those are whole numbers from -1 on: a handful of them, or up to MAX_LABELS of which each covers
    connected voxels.
    """
    values: set[float] = set()
    for plane in voxels.reshape(-1, voxels.shape[-1] * voxels.shape[-2]):
        values.update(np.unique(plane).tolist())
        # NaN is no whole number either.
        if len(values) > MAX_LABELS or not all(v >= -1 and v % 1 == 0 for v in values):
            return None
    if len(values) > FEW_LABELS and not _is_piecewise_constant(voxels):
        return None
    if len(values) == 1:
        return f"the one value {min(values):g}"
    return f"{len(values)} whole values from {min(values):g} to {max(values):g}"


def may_hold_labels(voxels: NDArray[Any]) -> bool:
    """Return whether an array has the values of a label map; most scans need a few voxels only."""
    few = voxels.reshape(-1)[:: max(1, voxels.size // SAMPLED_VOXELS)]
    if label_values(few[None, None]) is None or label_values(voxels) is None:
        return False
    return bool(voxels.min() < voxels.max())


def doubt(names: Sequence[str]) -> str:
    """Return one line on cases, at least one, whose values alone are those of label maps."""
    counted = "1 case has" if len(names) == 1 else f"{len(names)} cases have"
    return (
        f"{counted} a handful of whole values, such as {names[0]}: a label map? Leave it out with "
        "data.exclude, or set data.label_maps=keep if all is as it should be"
    )


def _is_piecewise_constant(voxels: NDArray[Any]) -> bool:
    """Return whether most voxels next to others than the background have an equal neighbour."""
    kinds, counts = np.unique(voxels, return_counts=True)
    background = kinds[counts.argmax()]
    left, right = voxels[..., :-1], voxels[..., 1:]
    inside = (left != background) | (right != background)
    return bool(((left == right) & inside).sum() > inside.sum() / 2)


def may_be_labels(statistics: VoxelStatistics) -> bool:
    """Return whether statistics are those of a handful of whole values, from 0 or -1 on."""
    values = {statistics.minimum, statistics.maximum, *statistics.percentiles}
    if min(values) < -1 or len(values) == 1 or not all(value % 1 == 0 for value in values):
        return False
    return statistics.maximum - statistics.minimum <= FEW_LABELS or len(values) <= 2
