"""`RunFolder`: the files of one training, and the lock of the process that writes them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vae3d.errors import RunError
from vae3d.files.atomic import sweep_below
from vae3d.files.links import check_no_links
from vae3d.files.lock import locked

if TYPE_CHECKING:
    from vae3d.runtime.distributed import Distributed

_WRITTEN = (
    *("checkpoints", "weights", "nonfinite", "wandb"),
    *("report/validation", "report/validation/cases"),
)
"""The folders that a training writes, below that of the run."""


@dataclass(frozen=True)
class RunFolder:
    """The paths inside `runs/<name>`."""

    path: Path

    @property
    def lock(self) -> Path:
        """The lock file, held by the process that writes to this folder."""
        return self.path / ".lock"

    @property
    def config(self) -> Path:
        """The resolved settings of the run."""
        return self.path / "config.yaml"

    @property
    def start(self) -> Path:
        """The weights that the training started from, if it did not start from random ones."""
        return self.path / "start.json"

    @property
    def cases(self) -> Path:
        """The cases that the run trains on and is validated with."""
        return self.path / "cases.csv"

    @property
    def metrics(self) -> Path:
        """Losses and scores, one row for each time they are logged."""
        return self.path / "metrics.csv"

    @property
    def progress(self) -> Path:
        """Losses and scores as curves."""
        return self.path / "progress.png"

    @property
    def status(self) -> Path:
        """Whether the training runs, its step, and how it ended."""
        return self.path / "status.json"

    @property
    def summary(self) -> Path:
        """The results of the finished training."""
        return self.path / "summary.json"

    @property
    def skipped(self) -> Path:
        """The cases that could not be read during training."""
        return self.path / "skipped.csv"

    @property
    def nonfinite(self) -> Path:
        """The patches of steps whose loss or gradient was not finite."""
        return self.path / "nonfinite"

    @property
    def checkpoints(self) -> Path:
        """Complete training states, one folder per step."""
        return self.path / "checkpoints"

    def weights(self, which: str) -> Path:
        """Return the folder of weights: `best` by the validation score, or `latest`."""
        return self.path / "weights" / which

    def report(self, name: str) -> Path:
        """Return the folder of the scores and pictures of one evaluation."""
        return self.path / "report" / name


def claimed(
    folder: RunFolder, distributed: "Distributed"
) -> contextlib.AbstractContextManager[None]:
    """Lock the run folder for this training within the context, on all ranks together.

    Raises:
        RunError: the folder is locked or cannot be written; rank 0 reports the reason.
    """
    return distributed.entered_by_main(_claim(folder))


@contextlib.contextmanager
def _claim(folder: RunFolder) -> Iterator[None]:
    path = folder.path
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is no folder; choose another name=")
    if not folder.lock.exists():
        _check_own(folder)
    with contextlib.ExitStack() as stack:
        try:
            created = [place for place in (path, *path.parents) if not place.exists()]
            stack.callback(_remove_if_empty, folder, created)
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder.lock))
        except OSError as error:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}); choose another runs_dir="
            ) from error
        # With the lock held no other process can be about to write the settings: check again.
        _check_own(folder)
        check_no_links(path)
        sweep_below(path, _WRITTEN)
        yield


def _check_own(folder: RunFolder) -> None:
    path = folder.path
    foreign = path.exists() and any(not e.name.startswith(".") for e in path.iterdir())
    if foreign and not folder.config.exists():
        raise RunError(f"{path}: holds files that are no run; choose another name=")


def _remove_if_empty(folder: RunFolder, created: list[Path]) -> None:
    """Remove the folder, and the parents created for it, if nothing was written to it."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in folder.path.iterdir()] == [folder.lock.name]:
            folder.lock.unlink()
        for place in created:
            place.rmdir()
