"""PNG, GIF and MP4 files through imageio; each appears whole or not at all."""

from collections.abc import Sequence
from pathlib import Path

import imageio.v2 as imageio
import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from vae3d.errors import UserError
from vae3d.runtime.files import atomic_write

Picture = NDArray[np.uint8]
FRAMES_PER_SECOND = 12


def write_png(path: Path, image: Picture) -> None:
    """Writes a picture (H, W, 3)."""
    with atomic_write(path) as temporary:
        iio.imwrite(temporary, image)


def write_gif(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Writes frames (H, W, 3) as an animation without end."""
    with atomic_write(path) as temporary:
        iio.imwrite(temporary, np.stack(frames), duration=1000 / fps, loop=0)


def write_mp4(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Writes frames (H, W, 3) as H.264 in the pixel format that browsers play.

    Raises:
        UserError: ffmpeg is missing.
    """
    with atomic_write(path) as temporary:
        try:
            writer = imageio.get_writer(
                temporary,
                fps=fps,
                codec="libx264",
                pixelformat="yuv420p",
                macro_block_size=16,
                ffmpeg_log_level="error",
            )
        except (ImportError, RuntimeError) as error:
            raise UserError(
                f"{path}: no ffmpeg for videos ({error}); say evaluation.media=[png,gif]"
            ) from error
        with writer:
            for frame in frames:
                writer.append_data(frame)
