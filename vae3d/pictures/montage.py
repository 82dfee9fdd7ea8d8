"""`montage`: patches on one page, each with its position in the scan."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vae3d.data.cases import Case
from vae3d.patching.region import Region
from vae3d.pictures.figures import (
    BACKGROUND,
    FOREGROUND,
    GAP,
    TEXT,
    Picture,
    fit,
    font,
    gray,
    planes,
    truncate_text,
)

SIDE = 128
"""Pixels of the longer side of a plane."""
MARK = np.array([255, 176, 32], np.uint8)
"""Colour of the outline of a patch."""


@dataclass(frozen=True)
class Tile:
    """A patch: a region of a case."""

    case: Case
    region: Region


def montage(tiles: list[Tile]) -> Picture:
    """Return a page of all tiles: the middle planes of each patch, and its outline in the scan."""
    panels = [_panels(tile) for tile in tiles]
    width = len(panels[0]) * (SIDE + GAP // 2)
    height = SIDE + 2 * TEXT
    columns = max(1, min(len(tiles), round((len(tiles) * height / width * 1.6) ** 0.5)))
    lines = -(-len(tiles) // columns)
    size = columns * (width + GAP) + GAP, lines * (height + GAP) + GAP
    page = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    for number, (tile, row) in enumerate(zip(tiles, panels, strict=True)):
        x = GAP + number % columns * (width + GAP)
        y = GAP + number // columns * (height + GAP)
        caption = f"{tile.case.case_id}  at {' x '.join(map(str, tile.region.corner))}"
        caption = truncate_text(caption, width, TEXT - 3)
        draw.text((x, y), caption, FOREGROUND, font(TEXT - 3))
        for place, panel in enumerate(row):
            left = x + place * (SIDE + GAP // 2) + (SIDE - panel.shape[1]) // 2
            page.paste(Image.fromarray(panel), (left, y + TEXT + 3 + (SIDE - panel.shape[0]) // 2))
    return np.asarray(page)


def _panels(tile: Tile) -> list[Picture]:
    case, region = tile.case, tile.region
    low, high = case.range.low, case.range.high
    patch = case.cut(region)[0].float().numpy()
    return [
        *(fit(gray(p.image, low, high), p.spacing, SIDE) for p in planes(patch, case.spacing)),
        _outline(case, region),
    ]


def _outline(case: Case, region: Region) -> Picture:
    """Return the axial slice through the middle of a patch, or the image, with its outline."""
    corner, size = region.corner, region.inside(case.shape)
    shown = Region((0,) * len(corner), case.shape)
    if len(corner) == 3:
        shown = Region((corner[0] + size[0] // 2, 0, 0), (1, *case.shape[1:]))
    image = case.cut(shown)[0].float().numpy()
    picture = gray(image.reshape(image.shape[-2:]), case.range.low, case.range.high).copy()
    line = max(1, max(picture.shape) // 100)
    (top, left), (height, width) = corner[-2:], size[-2:]
    box = picture[top : top + height, left : left + width]
    for edge in (box[:line], box[-line:], box[:, :line], box[:, -line:]):
        edge[...] = MARK
    plane = picture[::-1, ::-1] if len(corner) == 3 else picture
    return fit(plane, (case.spacing[-2], case.spacing[-1]), SIDE)
