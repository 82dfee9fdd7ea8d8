"""`new_output`: a folder that a command writes once, whole or not at all."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from vae3d.errors import ConfigError, UserError
from vae3d.files.checksums import is_changed, recorded
from vae3d.files.sole_writer import sole_writer_of_file

log = logging.getLogger(__name__)


@contextlib.contextmanager
def new_output(output: Path, is_same: Callable[[], bool]) -> Iterator[bool]:
    """Yield whether the folder is to be written; False if it holds the same already.

    No other process writes it within the context, and what a kill left of it is removed.
    `is_same` returns whether an existing folder is of the same input and settings.

    Raises:
        DataError: it cannot be written.
        ConfigError: it holds something else.
    """
    if output.name in ("", ".."):
        # It is written beside and renamed.
        raise ConfigError(f"output={output}: must have a name of its own, as in output=weights/x")
    with sole_writer_of_file(output):
        wanted = not output.exists() or (output.is_dir() and not any(output.iterdir()))
        if not wanted:
            if not _is_whole(output, is_same):
                raise ConfigError(
                    f"output={output}: exists and holds something else; choose another output=, "
                    "or remove it"
                )
            log.info(f"{output}: is finished, and holds the result of this command already")
        yield wanted


def _is_whole(output: Path, is_same: Callable[[], bool]) -> bool:
    """Return whether a folder is as a command with the same result left it."""
    try:
        files = [output / name for name in recorded(output)]
        whole = bool(files) and all(f.is_file() and not is_changed(f) for f in files)
        return whole and is_same()
    except (UserError, OSError):
        return False
