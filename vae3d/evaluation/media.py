"""PNG, GIF and MP4 files; each appears whole or not at all."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vae3d.errors import UserError
from vae3d.runtime.files import atomic_write

Picture = NDArray[np.uint8]
FRAMES_PER_SECOND = 12


def write_png(path: Path, image: Picture) -> None:
    """Writes a picture (H, W, 3)."""
    # The last tenth of its size would take five times as long.
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, "png", compress_level=2)


def write_gif(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Writes frames (H, W, 3) as an animation without end, at half their size in 64 colours.

    GIF compresses noise badly: in full it would be thirty times the MP4.
    """
    reduced = [Image.fromarray(frame).reduce(2) for frame in frames]
    # One palette for all, found in some of them: finding one for each is what takes time.
    some = np.concatenate([np.asarray(frame) for frame in reduced[:: max(1, len(reduced) // 4)]])
    palette = Image.fromarray(some).quantize(64, method=Image.Quantize.MEDIANCUT)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in reduced]
    with atomic_write(path) as temporary:
        small[0].save(
            temporary, "gif", save_all=True, append_images=small[1:], duration=1000 / fps, loop=0
        )


def ffmpeg() -> str:
    """The program, which comes with imageio-ffmpeg unless the system has its own."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def write_mp4(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Writes frames (H, W, 3) of even sides as H.264 in the pixel format that browsers play.

    Raises:
        UserError: ffmpeg is missing or refuses.
    """
    height, width = frames[0].shape[:2]
    with atomic_write(path) as temporary:
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
        target = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        target += ["-movflags", "+faststart"]
        try:
            done = subprocess.run(
                [ffmpeg(), "-v", "error", *source, "-i", "-", *target, str(temporary)],
                input=b"".join(frame.tobytes() for frame in frames),
                capture_output=True,
                check=False,
            )
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: no ffmpeg for videos ({error}); say evaluation.media=[png,gif]"
            ) from error
        if done.returncode != 0:
            reason = done.stderr.decode(errors="replace")
            raise UserError(f"{path}: ffmpeg failed: {reason}; say evaluation.media=[png,gif]")
