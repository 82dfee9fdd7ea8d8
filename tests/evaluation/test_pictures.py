"""Figures and videos of any volume, written and read back."""

import subprocess
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from vae3d.errors import UserError
from vae3d.pictures.figures import (
    case_figure,
    diverging,
    gray,
    planes,
    round_limit,
    scroll_frames,
)
from vae3d.pictures.media import write_gif, write_mp4, write_png

SHAPES = [(1, 24, 24), (16, 16, 16), (64, 48, 32), (300, 20, 20), (33, 17)]


def volumes(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    image = generator.normal(0, 300, shape).astype(np.float32)
    return image, image + generator.normal(0, 50, shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_figure_of_any_shape(shape: tuple[int, ...], tmp_path: Path) -> None:
    image, other = volumes(shape)
    spacing = (3.0, 1.0, 1.0)[-len(shape) :]
    figure = case_figure(
        image, other, low=-1000, high=1000, unit="HU", spacing=spacing, title="case"
    )
    assert figure.dtype == np.uint8
    assert figure.shape[2] == 3
    assert max(figure.shape) < 3000
    write_png(tmp_path / "figure.png", figure)
    assert np.array_equal(iio.imread(tmp_path / "figure.png"), figure)


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_videos_hold_every_slice(shape: tuple[int, ...], tmp_path: Path) -> None:
    image, other = volumes(shape)
    frames = list(
        scroll_frames(image, other, low=-1000, high=1000, spacing=(3, 1, 1), max_frames=40)
    )
    assert len(frames) == min(shape[0], 40)
    assert all(side % 16 == 0 for side in frames[0].shape[:2])
    write_gif(tmp_path / "scroll.gif", frames)
    write_mp4(tmp_path / "scroll.mp4", frames)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "scroll.mp4")]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run([*command, *raw], capture_output=True, check=True).stdout
    movie = np.frombuffer(decoded, np.uint8).reshape(-1, *frames[0].shape)
    assert len(movie) == len(frames)
    assert np.abs(movie[0].astype(int) - frames[0]).mean() < 8
    with Image.open(tmp_path / "scroll.gif") as animation:
        assert getattr(animation, "n_frames", 1) == len(frames)


def test_gray_stays_gray_in_an_animation(tmp_path: Path) -> None:
    shades = np.broadcast_to(np.arange(256, dtype=np.float32).repeat(2), (32, 512))
    write_gif(tmp_path / "gray.gif", [gray(shades, 0, 255)])
    with Image.open(tmp_path / "gray.gif") as animation:
        shades_read = np.asarray(animation.convert("RGB")).astype(int)
    assert np.ptp(shades_read, axis=-1).max() <= 6
    # The palette has 96 shades, 2.7 apart; quantisation may pick a neighbour.
    assert np.abs(shades_read[..., 0] - np.arange(256)).max() <= 4


def test_errors_of_ffmpeg_are_reported(tmp_path: Path) -> None:
    # More frames than a pipe buffers: it is closed while they are still being written.
    odd = [np.zeros((255, 255, 3), np.uint8)] * 40
    with pytest.raises(UserError, match=r"ffmpeg failed.*not divisible by 2"):
        write_mp4(tmp_path / "odd.mp4", odd)
    assert not [*tmp_path.iterdir()]


def test_planes_are_in_radiological_orientation() -> None:
    volume = np.zeros((4, 6, 8), dtype=np.float32)
    volume[2, 5, 0] = 1  # axial plane; most anterior, the patient's left-most column index 0
    axial, coronal, sagittal = planes(volume, (3.0, 1.0, 2.0))
    assert axial.image[0, -1] == 1, "anterior is up, low W (the patient's left) is on the right"
    volume[:] = 0
    volume[3, 3, 4] = 1  # most superior voxel of the middle coronal and sagittal planes
    _, coronal, sagittal = planes(volume, (3.0, 1.0, 2.0))
    assert coronal.image[0].max() == 1
    assert sagittal.image[0].max() == 1
    assert coronal.spacing == (3.0, 2.0)


def test_colours_span_their_scale() -> None:
    ends = gray(np.array([[-1000.0, 1000.0]], dtype=np.float32), -1000, 1000)
    assert ends[0, 0].tolist() == [0, 0, 0]
    assert ends[0, 1].tolist() == [255, 255, 255]
    low, zero, high = diverging(np.array([[-5.0, 0.0, 5.0]], dtype=np.float32), 5.0)[0].tolist()
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert max(zero) < 40


@pytest.mark.parametrize(("value", "limit"), [(0.0, 1.0), (0.9, 1.0), (3.0, 5.0), (170, 200)])
def test_limits_are_round(value: float, limit: float) -> None:
    assert round_limit(np.full((3, 3), value, dtype=np.float32)) == pytest.approx(limit)
