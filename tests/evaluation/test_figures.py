"""What a figure must not lose: long names, thin planes, images without depth."""

import numpy as np

from vae3d.evaluation.figures import BACKGROUND, case_figure, scroll_frames


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
    assert frame[40, 20].tolist() == [255, 255, 255]
    assert frame[180, 20].tolist() == [0, 0, 0]
