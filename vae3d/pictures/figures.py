"""Figures of a reconstruction, drawn from arrays as uint8 images (H, W, 3).

A plane is resized as one channel of levels and coloured afterwards. This is a third of the work,
and neighbouring errors of +5 and -5 average to 0, not to purple.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]
Levels = NDArray[np.uint8]

MAX_PERCENTILE_VOXELS = 2**20
"""Voxels that determine a percentile accurately enough for a colour scale."""
PANEL = 288
"""Pixels of the longer side of a plane."""
SCROLL_PANEL = 256
"""The same in an animation."""
MAX_FRAMES = 48
"""Frames of an animation, at most: four seconds. The report has a viewer for every slice."""
SCROLL_TEXT = 22
"""Size of the text in an animation: a GIF has half the size of the frames."""
GAP = 12
BAR = 14
TEXT = 15
BACKGROUND = (16, 18, 22)
FOREGROUND = (225, 228, 232)
# Blue through near-black to red: no error is as dark as the background of a figure.
DIVERGING = np.array(
    [
        [103, 169, 255],
        [32, 98, 205],
        [14, 40, 92],
        [22, 24, 28],
        [105, 22, 28],
        [214, 52, 44],
        [255, 158, 122],
    ],
    dtype=np.float64,
)
GRAYS: Picture = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
ERRORS = 254
"""The last level of a difference. It is even, so that a difference of 0 has a level of its own."""


def _diverging_ramp() -> Picture:
    """Return the colour of each of 256 levels, (256, 3).

    The last colour is repeated for level 255, which resizing may produce by overshooting.
    """
    place = np.linspace(0, len(DIVERGING) - 1, ERRORS + 1)
    steps = np.arange(len(DIVERGING))
    ramp = np.stack([np.interp(place, steps, channel) for channel in DIVERGING.T], axis=-1)
    colours: Picture = np.concatenate([ramp, ramp[-1:]]).round().astype(np.uint8)
    return colours


DIVERGING_RAMP = _diverging_ramp()


@dataclass(frozen=True)
class CaseView:
    """A case and its reconstruction, (D, H, W) or (H, W), float32 in `unit`.

    `low` to `high` is the range that the model sees. `spacing` is the size of a voxel along each
    axis in mm. `title` is printable. `stem` is a file name that no other case has.
    """

    title: str
    stem: str
    original: Array
    reconstruction: Array
    low: float
    high: float
    unit: str
    spacing: tuple[float, ...]


@dataclass(frozen=True)
class Plane:
    """A slice (rows, columns) in display orientation; `spacing` is its pixel size in mm."""

    name: str
    image: Array
    spacing: tuple[float, float]


def planes(volume: Array, spacing: Sequence[float]) -> list[Plane]:
    """Return the middle axial, coronal and sagittal slices of (D, H, W), or the image (H, W).

    Slices are in radiological orientation: superior or anterior up, the patient's right on the
    left. An image keeps its orientation. `spacing` is in mm.
    """
    if volume.ndim == 2:
        return [Plane("image", volume, (spacing[0], spacing[1]))]
    d, h, w = (n // 2 for n in volume.shape)
    sd, sh, sw = spacing
    # Columns of the axial and coronal planes run from the patient's left to right, those of the
    # sagittal plane from posterior to anterior. Reversed, the right and anterior are on the left.
    return [
        Plane("axial", volume[d, ::-1, ::-1], (sh, sw)),
        Plane("coronal", volume[::-1, h, ::-1], (sd, sw)),
        Plane("sagittal", volume[::-1, ::-1, w], (sd, sh)),
    ]


def case_figure(
    original: Array,
    reconstruction: Array,
    *,
    low: float,
    high: float,
    unit: str,
    spacing: Sequence[float],
    title: str,
) -> Picture:
    """Return a figure of original, reconstruction and difference in three planes, with scales.

    Images are (D, H, W) or (H, W) in `unit`, displayed from `low` to `high`; `spacing` is in mm.
    """
    limit = error_limit(original, reconstruction)
    before, after = planes(original, spacing), planes(reconstruction, spacing)
    rows = [
        _panels(a.image, b.image, (low, high, limit), a.spacing, PANEL)
        for a, b in zip(before, after, strict=True)
    ]
    names = ["original", "reconstruction", f"reconstruction - original ({unit})"]
    return _page(rows, names, [plane.name for plane in before], title, (low, high, unit), limit)


def scroll_frames(
    original: Array,
    reconstruction: Array,
    *,
    low: float,
    high: float,
    spacing: Sequence[float],
    unit: str = "",
    max_frames: int = MAX_FRAMES,
) -> Iterator[Picture]:
    """Yield a frame of original, reconstruction and difference for each axial slice.

    A frame names its plane, its slice and its panels, and the limit of the difference in `unit`.
    Slices are ordered from inferior to superior; an image (H, W) has one frame. All frames have
    the same size, a multiple of 16 along both sides as video codecs need it.
    """
    plane = "image" if original.ndim == 2 else "axial"
    if original.ndim == 2:
        # An image keeps its orientation: it is flipped here and flipped back below.
        original, reconstruction = original[None, ::-1, ::-1], reconstruction[None, ::-1, ::-1]
        spacing = (1.0, *spacing)
    limit = error_limit(original, reconstruction)
    names = [
        "original",
        "reconstruction",
        f"difference \N{PLUS-MINUS SIGN}{limit:g} {unit}".strip(),
    ]
    count = min(len(original), max_frames)
    for index in np.linspace(0, len(original) - 1, count).round().astype(int):
        before, after = original[index, ::-1, ::-1], reconstruction[index, ::-1, ::-1]
        panels = _panels(before, after, (low, high, limit), (spacing[1], spacing[2]), SCROLL_PANEL)
        yield _frame(panels, f"{plane} {index + 1}/{len(original)}", names)


def gray(image: Array, low: float, high: float) -> Picture:
    """Return (H, W) from `low` to `high` as shades of gray (H, W, 3)."""
    return np.asarray(_coloured(_shades(image, low, high), GRAYS))


def diverging(difference: Array, limit: float) -> Picture:
    """Return (H, W) from -limit (blue) through 0 (dark) to limit (red) as colours (H, W, 3)."""
    return np.asarray(_coloured(_error_levels(difference, limit), DIVERGING_RAMP))


def _coloured(levels: Levels, ramp: Picture) -> Image.Image:
    """Return levels (H, W) in the colours of a ramp.

    A palette of PIL takes a tenth of the time of a look-up in numpy.
    """
    image = Image.fromarray(np.ascontiguousarray(levels))
    image.putpalette(ramp.tobytes())
    return image.convert("RGB")


def _shades(image: Array, low: float, high: float) -> Levels:
    return _levels((image - low) / (high - low), 255)


def _error_levels(difference: Array, limit: float) -> Levels:
    return _levels(difference / (2 * limit) + 0.5, ERRORS)


def _levels(share: Array, last: int) -> Levels:
    levels: Levels = (np.clip(share, 0, 1) * last).round().astype(np.uint8)
    return levels


def _panels(
    before: Array,
    after: Array,
    scales: tuple[float, float, float],
    spacing: tuple[float, float],
    side: int,
) -> list[Image.Image]:
    """Return two planes in gray and their difference in colour; `scales` is (low, high, limit)."""
    low, high, limit = scales
    shades = [fit(_shades(image, low, high), spacing, side) for image in (before, after)]
    errors = fit(_error_levels(after - before, limit), spacing, side)
    return [*(_coloured(levels, GRAYS) for levels in shades), _coloured(errors, DIVERGING_RAMP)]


def error_limit(original: Array, reconstruction: Array) -> float:
    """Return the end of the colour scale of the difference: its `round_limit`.

    Large volumes are sampled at every n-th voxel. n is odd, so that the samples spread over all
    columns.
    """
    step = original.size // MAX_PERCENTILE_VOXELS | 1
    return round_limit(reconstruction.reshape(-1)[::step] - original.reshape(-1)[::step])


def round_limit(difference: Array) -> float:
    """Return the 99.5th percentile of |difference|, rounded up to 1, 2 or 5 times 10^n."""
    percentile = float(np.percentile(np.abs(difference), 99.5))
    if not percentile > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(percentile))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= percentile * (1 - 1e-9))


def fit(image: Picture, spacing: tuple[float, float], side: int) -> Picture:
    """Return the image (H, W) or (H, W, 3) resized to square pixels.

    Its longer side has `side` pixels; `spacing` is the size of its pixels before, in mm.
    """
    height, width = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    enlarged = size[0] >= image.shape[1]
    method = Image.Resampling.BICUBIC if enlarged else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method))


def _page(
    rows: list[list[Image.Image]],
    columns: list[str],
    names: list[str],
    title: str,
    window: tuple[float, float, str],
    limit: float,
) -> Picture:
    """Return the page of a figure: a row of panels for each plane, names and colour scales."""
    widths = [max(150, *(row[c].width for row in rows)) for c in range(3)]
    # The row of a thin plane is as high as its name, which is written vertically.
    min_heights = [int(font(TEXT - 2).getlength(name)) + 2 for name in names]
    heights = [max(row[0].height, room) for row, room in zip(rows, min_heights, strict=True)]
    top, left, scale = 2 * GAP + 3 * TEXT, 2 * GAP + TEXT, BAR + 5 * GAP
    width = left + sum(widths) + 3 * GAP + 2 * scale
    page = Image.new("RGB", (width, top + sum(heights) + GAP * len(rows)), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((left, GAP), truncate_text(title, width - 2 * left), FOREGROUND, font(TEXT + 3))
    lefts = [left, left + widths[0] + GAP, left + widths[0] + widths[1] + 2 * GAP + scale]
    for x, text in zip(lefts, columns, strict=True):
        draw.text((x, top - TEXT - GAP // 2), text, FOREGROUND, font(TEXT - 2))
    y = top
    for row, name, height in zip(rows, names, heights, strict=True):
        for x, cell, room in zip(lefts, row, widths, strict=True):
            page.paste(cell, (x + (room - cell.width) // 2, y + (height - cell.height) // 2))
        _vertical_text(page, name, GAP, y, height)
        y += height + GAP
    low, high, unit = window
    scales = [
        (lambda values: gray(values, low, high), [low, (low + high) / 2, high]),
        (lambda values: diverging(values, limit), [-limit, -limit / 2, 0.0, limit / 2, limit]),
    ]
    for column, (colours, ticks) in enumerate(scales, start=1):
        corner = lefts[column] + widths[column] + GAP, top
        _colour_bar(page, colours, ticks, unit, corner, y - GAP - top)
    return np.asarray(page)


def _colour_bar(
    page: Image.Image,
    colours: Callable[[Array], Picture],
    ticks: list[float],
    unit: str,
    corner: tuple[int, int],
    length: int,
) -> None:
    """Draw a bar of colours from the last tick, at `corner`, down to the first."""
    x, y = corner
    values = np.linspace(ticks[-1], ticks[0], length, dtype=np.float32)
    page.paste(Image.fromarray(colours(values[:, None]).repeat(BAR, axis=1)), corner)
    draw, face = ImageDraw.Draw(page), font(TEXT - 3)
    for tick in ticks:
        share = (ticks[-1] - tick) / (ticks[-1] - ticks[0])
        height = y + share * (length - 1)
        draw.line([(x + BAR, height), (x + BAR + 3, height)], FOREGROUND)
        anchor = {0.0: "lt", 1.0: "lb"}.get(share, "lm")
        draw.text((x + BAR + 5, height), f"{tick:.4g}", FOREGROUND, face, anchor=anchor)
    if len(unit) <= 4:
        draw.text((x, y - TEXT), unit, FOREGROUND, face)


def _vertical_text(page: Image.Image, text: str, x: int, y: int, height: int) -> None:
    face = font(TEXT - 2)
    length = int(face.getlength(text)) + 2
    label = Image.new("RGB", (length, TEXT + 4), BACKGROUND)
    ImageDraw.Draw(label).text((0, 0), text, FOREGROUND, face)
    page.paste(label.rotate(90, expand=True), (x, y + max(0, (height - length) // 2)))


def _frame(panels: list[Image.Image], caption: str, names: Sequence[str]) -> Picture:
    """Return a frame: the caption, a name above each panel, and the panels next to each other."""
    top = 2 * SCROLL_TEXT + GAP
    height = max(panel.height for panel in panels) + top + GAP // 2
    # The panels of a narrow plane are as far apart as their names need.
    face = font(SCROLL_TEXT)
    rooms = [
        max(panel.width, int(face.getlength(name)) + GAP)
        for panel, name in zip(panels, names, strict=True)
    ]
    width = max(sum(rooms) + 4 * (GAP // 2), int(face.getlength(caption)) + GAP)
    frame = Image.new("RGB", (-(-width // 16) * 16, -(-height // 16) * 16), BACKGROUND)
    draw = ImageDraw.Draw(frame)
    draw.text((GAP // 2, 2), caption, FOREGROUND, face)
    x = GAP // 2
    for panel, name, room in zip(panels, names, rooms, strict=True):
        draw.text((x, SCROLL_TEXT + 4), name, FOREGROUND, face)
        frame.paste(panel, (x, top))
        x += room + GAP // 2
    return np.asarray(frame)


def truncate_text(text: str, width: int, size: int = TEXT + 3) -> str:
    """Return the text, shortened with an ellipsis if it is wider than `width` pixels."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font of all captions in this size."""
    return ImageFont.load_default(size)
