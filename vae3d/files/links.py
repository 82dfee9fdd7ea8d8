"""No link leads out of a run, a store, latents or a report."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from vae3d.errors import DataError

_OF_OTHERS = {"wandb"}
"""Folders that other programs keep inside of a run, with links of their own; never entered."""
_OPEN_FILES = Path("/proc/self/fd")
_IN_PLACE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_inside(folder: Path, path: Path) -> Path:
    """Return `path`, which must be below `folder`; the folder itself may be a link.

    Raises:
        DataError: it is elsewhere, or a link leads to it.
    """
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ("..",)
    if ".." in parts:
        raise DataError(f"{path}: is not inside of {folder}")
    for count in range(1, len(parts) + 1):
        place = folder.joinpath(*parts[:count])
        if place.is_symlink():
            raise _link_error(place)
    return path


def check_no_links(folder: Path) -> None:
    """Raise a DataError if there is a link below `folder`; `folder` itself may be one.

    What a command reads and writes then stays in the folder that the user named.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(parent, name)):  # noqa: PTH114, PTH118 - many names
                raise _link_error(Path(parent, name))
        folders[:] = [name for name in folders if name not in _OF_OTHERS]


@contextlib.contextmanager
def pinned(folder: Path, path: Path) -> Iterator[Path]:
    """Yield a path by which a library opens a file below `folder`, and nothing else.

    The way there is opened part by part, following no link, so that none can be put there between
    the check and the opening. Where the system has no paths of open files it is `path`, checked.

    Raises:
        DataError: as `check_inside`.
        OSError: there is no such file.
    """
    with _parent(folder, path) as parent:
        descriptor = os.open(path.name, _IN_PLACE | os.O_NONBLOCK, dir_fd=parent)
        try:
            place = _OPEN_FILES / str(descriptor)
            yield place if place.exists() else path
        finally:
            os.close(descriptor)


def remove_inside(folder: Path, path: Path) -> None:
    """Delete a file below `folder`, to which no link leads, not even one that was just put there.

    Raises:
        DataError: as `check_inside`.
        OSError: there is no such file, or it may not be deleted.
    """
    with _parent(folder, path) as parent:
        os.unlink(path.name, dir_fd=parent)


@contextlib.contextmanager
def _parent(folder: Path, path: Path) -> Iterator[int]:
    """Yield a descriptor of the folder that holds `path`."""
    names = check_inside(folder, path).relative_to(folder).parts[:-1]
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            below = os.open(name, _IN_PLACE | os.O_DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def open_own(path: Path, *, linked: bool = False) -> BinaryIO:
    """Open a file that vae3d appends to, which is created if it does not exist.

    With `linked=True` it may be a hard link, for those who write nothing to one.

    Raises:
        OSError: it is no file, or a link or a hard link, behind which is a file of someone else.
    """
    file = open(path, "ab+", opener=_own_descriptor)  # noqa: SIM115 - Path.open has no opener
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no file", str(path))
        if found.st_nlink > 1 and not linked:
            reason = f"{path.name} is a hard link to another file; copy folders with cp -a"
            raise OSError(errno.EMLINK, reason, str(path))
    except BaseException:
        file.close()
        raise
    return file


def _own_descriptor(path: str, flags: int) -> int:
    # Without O_NONBLOCK a pipe would be waited for.
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, and none is followed here", path) from error
        raise


def _link_error(place: Path) -> DataError:
    return DataError(
        f"{place}: is a link, and none is followed inside of a run, a store, latents or a report; "
        "replace it by what it leads to (a whole run or store may be a link; runs_dir= may be "
        "elsewhere)"
    )
