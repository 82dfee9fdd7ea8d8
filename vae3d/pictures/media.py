"""Writers of PNG, GIF and MP4 files. Each file is written atomically."""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image

from vae3d.errors import UserError
from vae3d.files.atomic import atomic_write
from vae3d.pictures.figures import BACKGROUND, DIVERGING_RAMP, ERRORS, GRAYS, Picture

FRAMES_PER_SECOND = 12
PALETTE = np.concatenate(
    [
        GRAYS[np.linspace(0, 255, 96).round().astype(int)],
        DIVERGING_RAMP[np.linspace(0, ERRORS, 31).round().astype(int)],
        np.array([BACKGROUND], np.uint8),
    ]
)
"""Colours of all frames, (128, 3). An adaptive palette has fewer shades of gray, some of them
coloured."""


def write_png(path: Path, image: Picture) -> None:
    """Write a picture (H, W, 3) as PNG."""
    # A tenth smaller takes five times as long.
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, "png", compress_level=2)


def write_gif(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Write frames (H, W, 3) as a looping GIF in the colours of PALETTE, at half their size.

    GIF compresses noise badly: at full size the file is thirty times that of the MP4.
    """
    palette = Image.new("P", (1, 1))
    palette.putpalette(PALETTE.tobytes())
    reduced = (Image.fromarray(frame).reduce(2) for frame in frames)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in reduced]
    with atomic_write(path) as temporary:
        small[0].save(
            temporary, "gif", save_all=True, append_images=small[1:], duration=1000 / fps, loop=0
        )


def write_mp4(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Write frames (H, W, 3) as H.264 in the pixel format that browsers play.

    Both sides of the frames must be even.

    Raises:
        UserError: ffmpeg is missing or fails.
    """
    height, width = frames[0].shape[:2]
    with atomic_write(path) as temporary:
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps)]
        # ultrafast takes half the time of the other presets at the same quality, for twice the
        # bytes. More threads use more CPU and are no faster.
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
        target = [*codec, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        try:
            # Imported here: all but videos also works on a machine without it.
            import imageio_ffmpeg

            # The one that comes with imageio-ffmpeg, unless the system has its own.
            ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
            command = [ffmpeg, "-v", "error", *source, "-i", "-", *target, str(temporary)]
            status, message = _run_with_frames(command, frames)
        except (ImportError, OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: ffmpeg, which writes videos, cannot be started ({error}); "
                "set evaluation.media=[png,gif]"
            ) from error
        if status:
            raise UserError(f"{path}: ffmpeg failed: {message}; set evaluation.media=[png,gif]")


def _run_with_frames(command: Sequence[str], frames: Sequence[Picture]) -> tuple[int, str]:
    """Run a program with frames as its input and return its exit status and output.

    Each frame is one write: `communicate` writes pieces of a few KiB.
    """
    # A file, not a pipe: the program cannot block on output while frames are written.
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log) as program:
            assert program.stdin is not None
            # A program that fails closes its input; its output states why.
            with suppress(BrokenPipeError), program.stdin as pipe:
                for frame in frames:
                    pipe.write(np.ascontiguousarray(frame).data)
        log.seek(0)
        return program.returncode, log.read().decode(errors="replace")
