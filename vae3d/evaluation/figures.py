"""Pictures of a reconstruction: numbers in, uint8 images (H, W, 3) out."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Array = NDArray[np.float32]

MANY = 2**20
"""Voxels from which a percentile is known well enough for a colour scale."""
PANEL = 288
"""Pixels of the longer side of a plane."""
SCROLL_PANEL = 256
GAP = 12
BAR = 14
TEXT = 15
BACKGROUND = (16, 18, 22)
FOREGROUND = (225, 228, 232)
# Blue through near-black to red, so that no error is as dark as the background.
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


@dataclass(frozen=True)
class Plane:
    """A slice (rows, columns) as it is shown, with the size of its pixels in millimetres."""

    name: str
    image: Array
    spacing: tuple[float, float]


def planes(volume: Array, spacing: Sequence[float]) -> list[Plane]:
    """The middle axial, coronal and sagittal slices of (D, H, W), or the image (H, W) itself.

    As a radiologist sees them: superior or anterior up, the patient's right on the left.
    """
    if volume.ndim == 2:
        return [Plane("image", volume, (spacing[0], spacing[1]))]
    d, h, w = (n // 2 for n in volume.shape)
    sd, sh, sw = spacing
    # Columns run from left to right of the patient: turned round, his right is on the left;
    # of a sagittal plane the columns run from posterior: turned round, anterior is on the left.
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
    """Original, reconstruction and difference in three planes, with both colour scales.

    Images (D, H, W) or (H, W) in `unit`, shown from `low` to `high`.
    """
    limit = round_limit(reconstruction - original)
    before, after = planes(original, spacing), planes(reconstruction, spacing)
    rows = [
        [
            fit(gray(a.image, low, high), a.spacing, PANEL),
            fit(gray(b.image, low, high), b.spacing, PANEL),
            fit(diverging(b.image - a.image, limit), a.spacing, PANEL),
        ]
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
    max_frames: int = 120,
) -> Iterator[Picture]:
    """Axial slices from inferior to superior: original, reconstruction, difference.

    Of an image (H, W) there is one frame. All frames have one size, a multiple
    of 16 along both sides, as video codecs like it.
    """
    if original.ndim == 2:
        # An image is shown as in its file: turned here, it is turned back below.
        original, reconstruction = original[None, ::-1, ::-1], reconstruction[None, ::-1, ::-1]
        spacing = (1.0, *spacing)
    limit = round_limit(reconstruction - original)
    count = min(len(original), max_frames)
    for index in np.linspace(0, len(original) - 1, count).round().astype(int):
        before, after = original[index, ::-1, ::-1], reconstruction[index, ::-1, ::-1]
        pixel = (spacing[1], spacing[2])
        panels = [
            fit(gray(before, low, high), pixel, SCROLL_PANEL),
            fit(gray(after, low, high), pixel, SCROLL_PANEL),
            fit(diverging(after - before, limit), pixel, SCROLL_PANEL),
        ]
        yield _frame(panels, f"slice {index + 1}/{len(original)}")


def gray(image: Array, low: float, high: float) -> Picture:
    """(H, W) from `low` to `high` as shades of gray (H, W, 3)."""
    shade = np.clip((image - low) / (high - low), 0, 1) * 255
    picture: Picture = np.repeat(shade.round().astype(np.uint8)[..., None], 3, axis=-1)
    return picture


def diverging(difference: Array, limit: float) -> Picture:
    """(H, W) from -limit (blue) through 0 (dark) to limit (red) as colours (H, W, 3)."""
    position = (np.clip(difference / limit, -1, 1) + 1) / 2 * (len(DIVERGING) - 1)
    steps = np.arange(len(DIVERGING))
    channels = [np.interp(position, steps, DIVERGING[:, c]) for c in range(3)]
    picture: Picture = np.stack(channels, axis=-1).round().astype(np.uint8)
    return picture


def round_limit(difference: Array) -> float:
    """The 99.5th percentile of the absolute difference, rounded up to 1, 2 or 5 times 10^n.

    Of many voxels every n-th is looked at, n odd, so that no column is all there is to see.
    """
    some = difference.reshape(-1)[:: difference.size // MANY | 1]
    percentile = float(np.percentile(np.abs(some), 99.5))
    if not percentile > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(percentile))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= percentile * (1 - 1e-9))


def fit(image: Picture, spacing: tuple[float, float], side: int) -> Picture:
    """The image (H, W, 3) with square millimetres, its longer side `side` pixels."""
    height, width = image.shape[0] * spacing[0], image.shape[1] * spacing[1]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    enlarged = size[0] >= image.shape[1]
    method = Image.Resampling.BICUBIC if enlarged else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(size, method))


def _page(
    rows: list[list[Picture]],
    columns: list[str],
    names: list[str],
    title: str,
    window: tuple[float, float, str],
    limit: float,
) -> Picture:
    widths = [max(row[c].shape[1] for row in rows) for c in range(3)]
    widths = [max(width, 150) for width in widths]
    # A thin plane still has room for its name.
    needed = [int(font(TEXT - 2).getlength(name)) + 2 for name in names]
    heights = [max(row[0].shape[0], room) for row, room in zip(rows, needed, strict=True)]
    top, left, scale = 2 * GAP + 3 * TEXT, 2 * GAP + TEXT, BAR + 5 * GAP
    width = left + sum(widths) + 3 * GAP + 2 * scale
    page = Image.new("RGB", (width, top + sum(heights) + GAP * len(rows)), BACKGROUND)
    draw = ImageDraw.Draw(page)
    draw.text((left, GAP), fitted(title, width - 2 * left), FOREGROUND, font(TEXT + 3))
    lefts = [left, left + widths[0] + GAP, left + widths[0] + widths[1] + 2 * GAP + scale]
    for x, text in zip(lefts, columns, strict=True):
        draw.text((x, top - TEXT - GAP // 2), text, FOREGROUND, font(TEXT - 2))
    y = top
    for row, name, height in zip(rows, names, heights, strict=True):
        for x, cell, room in zip(lefts, row, widths, strict=True):
            page.paste(
                Image.fromarray(cell),
                (x + (room - cell.shape[1]) // 2, y + (height - cell.shape[0]) // 2),
            )
        _vertical_text(page, name, (GAP, y, height))
        y += height + GAP
    bottom = y - GAP
    low, high, unit = window
    bar = gray(np.linspace(high, low, bottom - top, dtype=np.float32)[:, None], low, high)
    x = lefts[1] + widths[1] + GAP
    _colour_bar(page, bar, (x, top), [low, (low + high) / 2, high], unit)
    bar = diverging(np.linspace(limit, -limit, bottom - top, dtype=np.float32)[:, None], limit)
    x = lefts[2] + widths[2] + GAP
    _colour_bar(page, bar, (x, top), [-limit, -limit / 2, 0.0, limit / 2, limit], unit)
    return np.asarray(page)


def _colour_bar(
    page: Image.Image, bar: Picture, corner: tuple[int, int], ticks: list[float], unit: str
) -> None:
    x, y = corner
    page.paste(Image.fromarray(np.repeat(bar, BAR, axis=1)), corner)
    draw, face = ImageDraw.Draw(page), font(TEXT - 3)
    for tick in ticks:
        share = (ticks[-1] - tick) / (ticks[-1] - ticks[0])
        height = y + share * (len(bar) - 1)
        draw.line([(x + BAR, height), (x + BAR + 3, height)], FOREGROUND)
        anchor = {0.0: "lt", 1.0: "lb"}.get(share, "lm")
        draw.text((x + BAR + 5, height), f"{tick:.4g}", FOREGROUND, face, anchor=anchor)
    short = unit if len(unit) <= 4 else ""
    draw.text((x, y - TEXT), short, FOREGROUND, face)


def _vertical_text(page: Image.Image, text: str, place: tuple[int, int, int]) -> None:
    x, y, height = place
    face = font(TEXT - 2)
    length = int(face.getlength(text)) + 2
    label = Image.new("RGB", (length, TEXT + 4), BACKGROUND)
    ImageDraw.Draw(label).text((0, 0), text, FOREGROUND, face)
    page.paste(label.rotate(90, expand=True), (x, y + max(0, (height - length) // 2)))


def _frame(panels: list[Picture], caption: str) -> Picture:
    height = max(panel.shape[0] for panel in panels) + TEXT + GAP
    width = sum(panel.shape[1] for panel in panels) + 4 * (GAP // 2)
    frame = Image.new("RGB", (-(-width // 16) * 16, -(-height // 16) * 16), BACKGROUND)
    x = GAP // 2
    for panel in panels:
        frame.paste(Image.fromarray(panel), (x, TEXT + GAP // 2))
        x += panel.shape[1] + GAP // 2
    ImageDraw.Draw(frame).text((GAP // 2, 2), caption, FOREGROUND, font(TEXT - 3))
    return np.asarray(frame)


def fitted(text: str, width: int, size: int = TEXT + 3) -> str:
    """The text, cut short where it is wider than `width` pixels."""
    face = font(size)
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The face of all captions."""
    return ImageFont.load_default(size)
