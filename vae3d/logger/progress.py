"""`ProgressPicture`: the curves of a training as one picture in its run folder."""

import logging
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vae3d.charts.chart import curve_chart
from vae3d.charts.drawing import SERIES, Drawing, Text, text_width
from vae3d.charts.history import History
from vae3d.files.atomic import atomic_write
from vae3d.logger.base import Logger, Scores

log = logging.getLogger(__name__)

SHOWN_SCORES = ("psnr", "ssim", "mae")
NOT_LOSS_TERMS = ("lr", "kl_weight", "grad_norm")

WIDTH, GAP = 1040, 16
"""Units of the picture and between its charts."""
THIRD = (WIDTH - 4 * GAP) // 3
SCALE = 1.25
"""Pixels per unit."""
SMOOTH = 2
"""Supersampling factor: PIL draws lines without antialiasing."""
PAGE = (16, 18, 22)


class ProgressPicture(Logger):
    """Draws `picture` from `metrics`, a metrics.csv, at each validation and at the end.

    The first failure logs a warning and ends the drawing; it never stops a training.
    """

    def __init__(self, metrics: Path, picture: Path) -> None:
        self.picture = picture
        self.history = History(metrics)
        self.silenced = False

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Draw the curves after a validation."""
        if split == "val":
            self._draw()

    def close(self, failed: bool = False) -> None:
        """Draw the curves a last time."""
        self._draw()

    def _draw(self) -> None:
        if self.silenced:
            return
        try:
            self.history.read_new_rows()
            if self.history.curves:
                page = draw_page(self.history, self.picture.absolute().parent.name)
                with atomic_write(self.picture) as temporary:
                    page.save(temporary, "png")
        except Exception as error:
            log.warning(f"{self.picture}: no longer drawn ({error}); training continues")
            self.silenced = True


def draw_page(history: History, run: str) -> Image.Image:
    """Return a picture of the loss and its terms, the learning rate and the validation scores."""
    terms = [name for name in history.of("train") if name not in NOT_LOSS_TERMS]
    head = "".join(c for c in run if c.isprintable())
    rows = [
        [_title(head, f"step {history.step:,}")],
        [
            _panel(history, "training", "train", terms, 2 * THIRD + GAP),
            _panel(history, "learning rate", "train", ["lr"]),
        ],
        [_panel(history, "validation", "val", [name]) for name in _scores(history.of("val"))],
    ]
    heights = [max((drawing.height for drawing in row), default=0) for row in rows]
    page = Image.new("RGB", _pixels(WIDTH, sum(heights) + GAP * (len(heights) + 1)), PAGE)
    top: float = GAP
    for row, height in zip(rows, heights, strict=True):
        left: float = GAP
        for drawing in row:
            page.paste(drawing.picture(SCALE * SMOOTH), _pixels(left, top))
            left += drawing.width + GAP
        top += height + GAP
    return page.reduce(SMOOTH)


def _pixels(x: float, y: float) -> tuple[int, int]:
    return round(x * SCALE) * SMOOTH, round(y * SCALE) * SMOOTH


def _scores(names: Sequence[str]) -> list[str]:
    """Return the names of at most three validation scores, SHOWN_SCORES first."""
    first = [name for name in SHOWN_SCORES if name in names]
    return [*first, *(name for name in names if name not in first)][:3]


def _title(run: str, step: str) -> Drawing:
    """Return the first line of the picture."""
    width = WIDTH - 2 * GAP
    while text_width(run) > width - 150:
        run = run[:-1]
    texts = [Text(10, 16, run, "title"), Text(width - 10, 16, step, anchor="end")]
    return Drawing(width, 24, [*texts])


def _panel(
    history: History, title: str, split: str, names: Sequence[str], width: float = THIRD
) -> Drawing:
    """Return a chart under its title and the names and last values of its curves."""
    names = [name for name in names if (split, name) in history.curves]
    kinds = [SERIES[number % len(SERIES)] for number in range(len(names))]
    texts, x, y = [Text(10, 16, title, "title")], 10 + text_width(title) + 14, 16
    for name, kind in zip(names, kinds, strict=True):
        label = f"{name} {history.last[split, name]:.4g}"
        if x + text_width(label) > width - 10:
            x, y = 10.0, y + 15
        texts.append(Text(x, y, label, kind))
        x += text_width(label) + 12
    points = [history.curves[split, name].points for name in names]
    curves = [*zip(kinds, points, strict=True)]
    chart = curve_chart(curves, history.step, (width, 290), y + 14, log=names != ["lr"])
    chart.add(texts)
    return chart
