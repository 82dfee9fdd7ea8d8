"""`Session`: one start of a run: its first step, whether it is finished, and what it saves."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from vae3d.checkpoints.folder import Checkpoint, CheckpointFolder
from vae3d.checkpoints.state import missing_parts_as_errors
from vae3d.data.run_cases import RunCase
from vae3d.errors import CheckpointError, ConfigError, RunError
from vae3d.files.aside import put_aside
from vae3d.files.checksums import CHECKSUMS, forget, seal
from vae3d.files.plain import read_json
from vae3d.loading.loader import PatchLoader
from vae3d.logger.progress import ProgressPicture
from vae3d.logger.rows import Written
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.trainer.config import TrainerConfig
from vae3d.trainer.journal import Journal
from vae3d.trainer.state import TrainState
from vae3d.trainer.trainer import total_steps

log = logging.getLogger(__name__)


class Session:
    """One start of a training in its run folder.

    `about` is what its checkpoints record of the training: the versions of vae3d and torch, the
    hash of the `settings` that are fixed for a run, and as `data` the training cases' fingerprint.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: TrainerConfig,
        loader: PatchLoader,
        about: dict[str, Any],
        earlier_data: str,
        distributed: Distributed,
    ) -> None:
        if distributed.is_main:
            _make_way(folder)
        self.folder = folder
        self.config = config
        self.loader = loader
        self.about = about
        self.earlier_data = earlier_data
        self.distributed = distributed
        self.checkpoints = CheckpointFolder(folder.checkpoints)
        self.journal = Journal(folder, self.checkpoints, config, distributed)
        self.checkpoint = self._checkpoint()

    @property
    def first_step(self) -> int:
        """The step from which the training resumes, 0 for a new one."""
        return self.checkpoint.step if self.checkpoint else 0

    @property
    def logged(self) -> Written | None:
        """What metrics.csv held at that step; None if the checkpoint does not know it."""
        return Written.of(self.checkpoint.about.get("metrics")) if self.checkpoint else None

    @property
    def total_steps(self) -> int:
        """The length of the training in steps."""
        return total_steps(self.config, self.loader)

    def _checkpoint(self) -> Checkpoint | None:
        """Return the newest whole checkpoint, or exactly the one that `trainer.resume` names.

        Raises:
            CheckpointError: it belongs to other cases, or all that were saved are gone.
        """
        step = self.config.resume
        checkpoint = self.checkpoints.newest() if step is None else self.checkpoints.load(step)
        if checkpoint is None and (lost := self._last_saved()):
            # A training from step 0 would replace the weights that the run still has.
            raise CheckpointError(
                f"{self.folder.path}: its checkpoints are gone, the last one was of step {lost}; "
                "bring them back or choose another name= (remove the folder to start again)"
            )
        known = (self.about["data"], self.earlier_data)
        if checkpoint and checkpoint.about.get("data") not in known:
            raise CheckpointError(
                f"{self.folder.path}: its training cases were others (names, shapes or voxels; "
                f"{self.folder.cases.name} lists them); bring them back or choose another name="
            )
        return checkpoint

    def _last_saved(self) -> int:
        """Return the step that the run last saved, as far as its own files tell, else 0."""
        known = ((self.folder.status, "last_checkpoint"), (self.folder.summary, "steps"))
        for path, key in known:
            with contextlib.suppress(OSError, ConfigError, AttributeError):
                step = read_json(path).get(key)
                if isinstance(step, int) and step > 0:
                    return step
        return 0

    def finished(self) -> TrainState | None:
        """Return the state of a finished run, after logging how to extend it; else None."""
        if self.checkpoint is None or self.config.resume is not None:
            return None
        state = TrainState()
        with missing_parts_as_errors(self.folder.checkpoints):
            state.load_state_dict(self.checkpoint.state["train"])
        if not state.is_finished(self.total_steps, self.config.patience):
            return None
        reason = self.journal.ending(state, self.total_steps)
        log.info(reason)
        self.journal.status("finished", state.step, self.total_steps, reason, 0)
        if self.distributed.is_main:
            # It may have been killed after its last checkpoint.
            self.checkpoints.settle(state.step, state.best_steps, self.config.keep_checkpoints)
            if self.folder.metrics.exists():
                ProgressPicture(self.folder.metrics, self.folder.progress).close()
        return state

    def begin(self, save_settings: Callable[[], None], cases: Iterable[RunCase]) -> None:
        """Prepare the run folder before the first step; every rank calls this.

        With `trainer.resume` the checkpoints of later steps are removed.

        `save_settings` writes `config.yaml`.
        """
        back = self.config.resume is not None
        if self.checkpoint:
            verb = "returns to" if back else "resumes at"
            log.info(f"{self.folder.path} {verb} step {self.first_step}")
        self.distributed.barrier()
        if not self.distributed.is_main:
            return
        if back:
            self.checkpoints.drop_after(self.first_step)
        forget(self.folder.path, "*")
        save_settings()
        self.journal.cases(cases, len(self.loader.dataset.indices))
        names = (file.name for file in (self.folder.config, self.folder.start, self.folder.cases))
        seal(self.folder.path, *names)


def _make_way(run: RunFolder) -> None:
    """Keep what is in the place of a file that the training writes under another name."""
    for place in (run.checkpoints, run.path / "weights", run.nonfinite):
        if os.path.lexists(place) and not place.is_dir():
            raise RunError(f"{place}: is in the place of a folder of the run; move it elsewhere")
    sums = run.path / CHECKSUMS
    for file in (run.cases, run.status, run.summary, run.skipped, sums):
        if os.path.lexists(file) and not file.is_file():
            moved = put_aside(file)
            log.warning(
                f"{file}: is no file; it is now {moved.name}, and the file is written again"
            )
