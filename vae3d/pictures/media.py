"""PNG, GIF and MP4 files; each appears whole or not at all."""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from vae3d.errors import UserError
from vae3d.pictures.figures import BACKGROUND, DIVERGING_RAMP, ERRORS, GRAYS, Picture
from vae3d.runtime.files import atomic_write

FRAMES_PER_SECOND = 12
PALETTE = np.concatenate(
    [
        GRAYS[np.linspace(0, 255, 96).round().astype(int)],
        DIVERGING_RAMP[np.linspace(0, ERRORS, 31).round().astype(int)],
        np.array([BACKGROUND], np.uint8),
    ]
)
"""What frames are made of; a palette found in them leaves gray less, and some of it coloured."""


def write_png(path: Path, image: Picture) -> None:
    """Writes a picture (H, W, 3)."""
    # The last tenth of its size would take five times as long.
    with atomic_write(path) as temporary:
        Image.fromarray(image).save(temporary, "png", compress_level=2)


def write_gif(path: Path, frames: Sequence[Picture], fps: int = FRAMES_PER_SECOND) -> None:
    """Writes frames (H, W, 3) as an animation without end, at half their size in PALETTE.

    GIF compresses noise badly: in full it would be thirty times the MP4.
    """
    palette = Image.new("P", (1, 1))
    palette.putpalette(PALETTE.tobytes())
    reduced = (Image.fromarray(frame).reduce(2) for frame in frames)
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
        # Faster than the other presets by half and no worse, for twice their bytes; more threads
        # are busier and no faster.
        codec = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
        target = [*codec, "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
        try:
            command = [ffmpeg(), "-v", "error", *source, "-i", "-", *target, str(temporary)]
            failed, said = _fed(command, frames)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: no ffmpeg for videos ({error}); say evaluation.media=[png,gif]"
            ) from error
        if failed:
            raise UserError(f"{path}: ffmpeg failed: {said}; say evaluation.media=[png,gif]")


def _fed(command: Sequence[str], frames: Sequence[Picture]) -> tuple[int, str]:
    """The exit status of a program that takes frames, and what it said.

    Each frame is written at once: `communicate` would do it in pieces of a page.
    """
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said) as program:
            assert program.stdin is not None
            # What has come to grief reads no more, and says why.
            with suppress(BrokenPipeError), program.stdin as pipe:
                for frame in frames:
                    pipe.write(np.ascontiguousarray(frame).data)
        said.seek(0)
        return program.returncode, said.read().decode(errors="replace")
