"""`sole_writer`: an output folder, or a single file, has one writer at a time."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from vae3d.errors import DataError, LockedError
from vae3d.files.atomic import sweep, sweep_below
from vae3d.files.lock import locked

LOCK = ".lock"


@contextlib.contextmanager
def sole_writer(folder: Path, below: Iterable[str] = ()) -> Iterator[None]:
    """Create and lock an output folder within the context, and sweep what a kill left in it.

    `below` are patterns of the folders below it that are written and swept too. The lock file is
    removed at the end, as is a folder that was created and stayed empty.

    Raises:
        LockedError: another process writes to the folder.
        DataError: the folder cannot be written.
    """
    created = [place for place in (folder, *folder.parents) if not place.exists()]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_if_empty, created)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked_alone(folder / LOCK))
            sweep_below(folder, below)
        except OSError as error:
            raise DataError(
                f"{folder}: cannot be written ({error.strerror}); choose another output="
            ) from error
        yield


@contextlib.contextmanager
def sole_writer_of_file(
    path: Path, also: Iterable[str] = (), *, wait: bool = False
) -> Iterator[None]:
    """Lock one file within the context, and sweep what a kill left of it, as `sole_writer` does.

    `also` are the names of other files next to it. With `wait`, wait for another process.

    Raises:
        LockedError: another process writes the file.
        DataError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_locked_alone(lock_of(path), wait))
            sweep(path.parent, of={path.name, *also})
        except OSError as error:
            raise DataError(
                f"{path}: cannot be written ({error.strerror}); choose another output="
            ) from error
        yield


def lock_of(path: Path) -> Path:
    """Return the lock file of a single file; it is there while that is written."""
    return path.with_name(f".{path.name}{LOCK}")


@contextlib.contextmanager
def _locked_alone(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file that exists only as long as it is held, or until a kill.

    After waiting for it the file may be gone: who waits looks first what the other one wrote.
    """
    with locked(path, lambda: None) if wait else locked(path):
        if not (wait or path.exists()):
            # Its holder removed it between the opening and the locking of this process.
            raise LockedError(f"{path.parent}: another process was writing here; try again")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _remove_if_empty(created: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):
        for place in created:
            place.rmdir()
