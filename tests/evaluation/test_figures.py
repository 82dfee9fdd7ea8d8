"""Figures of long names, thin planes and images without depth."""

import numpy as np
import pytest

from vae3d.pictures.figures import (
    BACKGROUND,
    DIVERGING,
    GAP,
    MAX_FRAMES,
    SCROLL_TEXT,
    case_figure,
    diverging,
    error_limit,
    gray,
    scroll_frames,
)


def test_a_long_title_keeps_inside_the_page() -> None:
    image = np.zeros((16, 16, 16), dtype=np.float32)
    figure = case_figure(
        image, image, low=0, high=1, unit="HU", spacing=(1, 1, 1), title="case/" * 60
    )
    assert (figure[:40, -12:] == BACKGROUND).all()


def test_names_of_thin_planes_do_not_run_into_each_other() -> None:
    image = np.ones((1, 24, 24), dtype=np.float32)
    figure = case_figure(image, image, low=0, high=1, unit="HU", spacing=(1, 1, 1), title="thin")
    written = (figure[60:, :36] != BACKGROUND).any(axis=(1, 2))
    gaps = np.flatnonzero(np.diff(np.flatnonzero(written)) >= 8)
    assert len(gaps) == 2, "three names, two gaps"


def test_an_image_is_one_upright_frame() -> None:
    image = np.zeros((20, 30), dtype=np.float32)
    image[:10, :15] = 1
    (frame,) = scroll_frames(image, image, low=0, high=1, spacing=(1, 1))
    assert all(side % 16 == 0 for side in frame.shape[:2])
    column = frame[2 * SCROLL_TEXT + GAP :, 20]
    white, black = (np.flatnonzero((column == shade).all(axis=1)) for shade in (255, 0))
    assert white.size > 20
    assert black.size > 20
    assert white.max() < black.min()


def test_frames_name_their_slice_and_panels() -> None:
    image = np.zeros((2, 8, 2), dtype=np.float32)
    one, other = scroll_frames(image, image, low=-1, high=1, spacing=(1, 1, 1), unit="HU")
    caption, names = one[:SCROLL_TEXT], one[SCROLL_TEXT + 4 : 2 * SCROLL_TEXT + GAP]
    assert (caption != other[:SCROLL_TEXT]).any(), "the number of the slice"
    written = np.flatnonzero((names != BACKGROUND).any(axis=(0, 2)))
    assert (np.diff(written) >= GAP).sum() >= 2, "three names, even above narrow panels"


def test_levels_are_the_colours_of_their_values() -> None:
    values = np.linspace(-1.25, 1.25, 401, dtype=np.float32)[None]
    place = (np.clip(values, -1, 1) + 1) / 2 * (len(DIVERGING) - 1)
    steps = np.arange(len(DIVERGING))
    exact = np.stack([np.interp(place, steps, channel) for channel in DIVERGING.T], axis=-1)
    # Half a level of the steepest part, and rounding.
    assert np.abs(diverging(values, 1.0) - exact).max() <= 3
    assert diverging(np.zeros((1, 1), np.float32), 5.0)[0, 0].tolist() == DIVERGING[3].tolist()
    shades = np.arange(256, dtype=np.float32)[None]
    assert np.array_equal(gray(shades, 0, 255)[0], np.repeat(shades.T, 3, axis=1))


def test_opposite_errors_cancel_where_they_share_a_pixel() -> None:
    image = np.zeros((1, 1024, 1024), dtype=np.float32)
    stripes = image + np.where(np.arange(1024) % 2, 1, -1).astype(np.float32)
    (frame,) = scroll_frames(image, stripes, low=-1, high=1, spacing=(1, 1, 1))
    middle = frame[100:200, 600:700].astype(int)
    assert np.abs(middle - DIVERGING[3]).max() <= 3


def test_a_deep_scan_is_scrolled_in_even_steps_from_end_to_end() -> None:
    depth = 5 * MAX_FRAMES
    image = np.broadcast_to(np.arange(depth, dtype=np.float32)[:, None, None], (depth, 8, 8))
    frames = [*scroll_frames(image, image, low=0, high=depth - 1, spacing=(1, 1, 1))]
    shades = np.array([int(frame[100, 100, 0]) for frame in frames])
    assert len(frames) == MAX_FRAMES
    assert (shades[0], shades[-1]) == (0, 255)
    assert np.ptp(np.diff(shades)) <= 2


@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_errors_are_coloured_up_to_their_limit(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).normal(0, 9, shape).astype(np.float32)
    assert error_limit(image, image + np.float32(3)) == 5
    assert error_limit(image, image) == 1
