"""`changed_cases`: pictures of the cases that changed most between runs, from their reports."""

import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vae3d.comparison.reader import Report
from vae3d.comparison.results import Comparison
from vae3d.files.checksums import warn_if_changed
from vae3d.files.reading import read_bytes
from vae3d.report.page import data_uri
from vae3d.report.result import chosen_by
from vae3d.scans.png import check_chunks
from vae3d.scoring.scores import label_of, worth
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)

MAX_PICTURE_BYTES = 2**25
"""Size of a picture's file, at most."""
MAX_PIXELS = 2**24
"""Pixels of a picture, at most."""
WIDTH = 820
"""Width of a picture in pixels, at most."""


@dataclass(frozen=True)
class ChangedCase:
    """A case in all runs: `runs` are the name, the `score` and the picture (a data URI) of each.

    `title` says what it is an example of.
    """

    title: str
    name: str
    score: str
    runs: list[tuple[str, float, str]]

    @property
    def label(self) -> str:
        """The name of the score for people."""
        return label_of(self.score)


def changed_cases(comparison: Comparison) -> list[ChangedCase]:
    """Return the case that improved most from the first run to the second, and the one least.

    Only cases count whose pictures all reports have: `evaluation.media` with `png` draws the first
    `evaluation.media_cases`. Without them the list is empty, with one such case it has one item.
    """
    score = chosen_by([score.name for score in comparison.scores])
    reports = comparison.reports
    drawn = [
        case
        for case in comparison.common
        if all(score in r.cases[case].scores and _path(r, case).is_file() for r in reports)
    ]
    first, second = (
        {case: worth(score, r.cases[case].scores[score]) for case in drawn} for r in reports[:2]
    )
    gains = {case: second[case] - first[case] for case in drawn}
    # The difference of two infinite scores is no number: the case did not change.
    order = sorted(gains, key=lambda case: 0.0 if math.isnan(gains[case]) else -gains[case])
    titles = ("Improved most", "Improved least")
    ends = zip(titles, [*order[:1], *order[1:][-1:]], strict=False)
    cases = [_case(title, name, score, reports) for title, name in ends]
    return [case for case in cases if case is not None]


def _case(title: str, name: str, score: str, reports: Sequence[Report]) -> ChangedCase | None:
    """Return a case with its pictures; None if one cannot be read, which is logged."""
    runs = []
    for report in reports:
        path = _path(report, name)
        warn_if_changed(path, report.folder)
        try:
            runs.append((report.name, report.cases[name].scores[score], _picture(path)))
        except (OSError, ValueError, SyntaxError) as error:
            log.warning(f"{path}: is left out of the page ({' '.join(str(error).split())})")
            return None
    return ChangedCase(title, name, score, runs)


def _path(report: Report, case: str) -> Path:
    return report.folder / "cases" / f"{file_stem(report.cases[case].case_id)}.png"


def _picture(path: Path) -> str:
    """Return a PNG as a data URI of at most WIDTH pixels.

    Raises:
        OSError, SyntaxError, ValueError: it cannot be read, or is too large.
    """
    data = read_bytes(path, MAX_PICTURE_BYTES)
    check_chunks(io.BytesIO(data))
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"it has more than {MAX_PIXELS} pixels")
        return data_uri(np.asarray(image.convert("RGB")), WIDTH)
