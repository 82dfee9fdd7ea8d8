"""`Journal`: the files in which a run reports its progress to people."""

import contextlib
import csv
import io
import json
import logging
import os
from collections.abc import Iterable, Iterator

from safetensors.torch import save_file

from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.run_cases import RunCase, RunCases
from vae3d.errors import Interrupted, ResourceError, UserError
from vae3d.files.atomic import atomic_folder, write_json, write_text
from vae3d.files.checksums import Sum, forget, seal
from vae3d.files.links import open_own
from vae3d.files.reading import MAX_TABLE_BYTES, read_text
from vae3d.loading.loader import PatchLoader
from vae3d.logger.rows import Written
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.system.limits import is_out_of_device_memory, limits_as_errors
from vae3d.system.streams import lost_streams
from vae3d.trainer.config import BEST_BY, TrainerConfig
from vae3d.trainer.state import TrainState
from vae3d.trainer.trainer import Trainer

log = logging.getLogger(__name__)

MAX_LISTED = 100_000
"""Training cases up to which `cases.csv` is written."""


class Journal:
    """Writes `status.json`, `summary.json`, `cases.csv`, `skipped.csv` and `nonfinite/`.

    Files whose content is the same on all ranks are written by the main one only.
    """

    def __init__(
        self,
        folder: RunFolder,
        checkpoints: CheckpointFolder,
        config: TrainerConfig,
        distributed: Distributed,
    ) -> None:
        self.folder = folder
        self.checkpoints = checkpoints
        self.config = config
        self.distributed = distributed

    @contextlib.contextmanager
    def watching(self, trainer: Trainer) -> Iterator[None]:
        """Keep `status.json` up to date, whatever ends the training."""

        def note(name: str, reason: str | None = None, code: int | None = None) -> None:
            self.status(name, trainer.state.step, trainer.total_steps, reason, code)

        note("running")
        try:
            with limits_as_errors(), _memory_advice(trainer):
                yield
        except Interrupted as error:
            note("interrupted", str(error), error.exit_code)
            raise
        except BaseException as error:
            code = error.exit_code if isinstance(error, UserError) else 1
            note("failed", str(error) or type(error).__name__, code)
            raise
        note("finished", self.ending(trainer.state, trainer.total_steps), 0)

    def status(
        self, name: str, step: int, total: int, reason: str | None, code: int | None
    ) -> None:
        """Write `status.json`; `code` is the exit code of the run, None while it runs."""
        if not self.distributed.is_main:
            return
        steps = self.checkpoints.steps()
        lost = [f"{stream}: {error.strerror}" for stream, error in lost_streams().items()]
        if reason is not None and lost:
            reason = f"{reason}; its log was cut off ({', '.join(lost)})"
        status = {
            "state": name,
            "step": step,
            "of": total,
            "last_checkpoint": steps[-1] if steps else None,
            "reason": reason,
            "exit_code": code,
            "pid": os.getpid(),
        }
        # On a full disk the error to report is the training's own, not the one of this file.
        with contextlib.suppress(OSError):
            write_json(self.folder.status, status)

    def ending(self, state: TrainState, total: int) -> str:
        """Return why a finished run ended, and how to extend it."""
        where = f"{self.folder.path} is finished at step {state.step}"
        if state.step < total:
            return (
                f"{where}: {state.stale} validations without a better score; extend it with a "
                "larger trainer.patience"
            )
        key = "epochs" if self.config.epochs else "steps"
        return f"{where}; extend it with a larger trainer.{key}"

    def summary(self, state: TrainState, parameters: int, logged: Written | None = None) -> None:
        """Write `summary.json` of a finished run: steps, best score and parameters.

        `logged` is what its metrics.csv must hold.
        """
        if not self.distributed.is_main:
            return
        score, step = state.best[0] if state.best else (None, 0)
        summary = {
            "steps": state.step,
            "best_step": step,
            "best_by": self.config.best_by,
            "best_score": None if score is None else score * BEST_BY[self.config.best_by],
            "parameters": parameters,
        }
        path, name = self.folder.path, self.folder.summary.name
        forget(path, name)
        write_json(self.folder.summary, summary)
        known = {self.folder.metrics.name: Sum(logged.sha256, logged.size)} if logged else {}
        seal(path, name, known=known)

    def cases(self, cases: Iterable[RunCase], count: int) -> None:
        """Write `cases.csv`, the record of the run's cases, unless it trains on too many."""
        if self.distributed.is_main and count <= MAX_LISTED:
            RunCases(cases).write(self.folder.cases)

    def unread(self, case_id: str, reason: str) -> None:
        """Log a case that can no longer be read, and list it once in `skipped.csv`."""
        log.warning(
            f"Skipping {case_id}, which can no longer be read ({reason}). "
            "Its patches are replaced by patches of other cases."
        )
        path = self.folder.skipped
        # Every rank and every start of the run may report the same case.
        listed = ""
        with contextlib.suppress(FileNotFoundError):
            listed = read_text(path, MAX_TABLE_BYTES, errors="replace")
        if listed and not listed.endswith("\n"):
            # A kill cut off its last line, which is reported again.
            listed = listed[: listed.rfind("\n") + 1]
            write_text(path, listed)
        row = io.StringIO()
        csv.writer(row, lineterminator="\n").writerow([case_id, reason])
        if row.getvalue() not in listed:
            with open_own(path) as file:
                file.write(row.getvalue().encode())

    def bad_step(self, loader: PatchLoader, step: int, wrong: list[str]) -> None:
        """Write this rank's patches of a step that was not finite, with cases and positions."""
        place = self.folder.nonfinite / f"step_{step:08d}_rank{self.distributed.rank}"
        patches = loader.patches(step)
        with atomic_folder(place) as temporary:
            images = {f"patch_{n}": patch.image for n, (_, patch) in enumerate(patches)}
            save_file(images, temporary / "patches.safetensors")
            cases = [{"case_id": case_id, "inside": p.inside} for case_id, p in patches]
            about = {"step": step, "not_finite": wrong, "patches": cases}
            (temporary / "patches.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
        log.info(
            f"step {step}: {', '.join(wrong)} not finite, the weights are unchanged; "
            f"the patches are in {place}"
        )


@contextlib.contextmanager
def _memory_advice(trainer: Trainer) -> Iterator[None]:
    """Raise an error about a GPU's memory as a ResourceError with the settings that lower it."""
    try:
        yield
    except Exception as error:
        if not is_out_of_device_memory(error):
            raise
        raise ResourceError(
            f"step {trainer.state.step}: {' '.join(str(error).split())[:200]}; lower "
            "trainer.batch_size (and raise trainer.accumulation) or patching.size, or set "
            "model.checkpointing=true"
        ) from error
