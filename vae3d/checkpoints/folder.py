"""The whole state of a training on disk: one folder per step, with the SHA-256 of its files."""

import json
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vae3d.checkpoints.files import ABOUT, MANIFEST, STATE, check_files
from vae3d.checkpoints.state import interned, num_bytes
from vae3d.errors import CheckpointError, ConfigError, ResourceError
from vae3d.files.atomic import atomic_folder, file_digest, write_text
from vae3d.files.plain import from_plain, read_json
from vae3d.system.abilities import free_bytes
from vae3d.system.limits import limit_reached

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
MEBIBYTE = 2**20
_NAME = re.compile(r"step_(\d{8})")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after `step` updates.

    `state` holds tensors, numbers, strings, lists and dicts; `about` identifies the training.
    """

    step: int
    state: dict[str, Any]
    about: dict[str, Any]


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of a run; the files `latest` and `best` hold the name of one of them.

    A checkpoint is written to a temporary folder, flushed, sealed by a manifest with the SHA-256
    of each file, renamed, and read again before an older one is removed.
    """

    path: Path

    def save(
        self,
        step: int,
        state: dict[str, Any],
        about: dict[str, Any],
        *,
        best: Sequence[int] = (),
        keep: int = 2,
    ) -> None:
        """Write a checkpoint, update `latest` and `best`, and remove the checkpoints not to keep.

        Kept are the `best` steps (the best one first) and the newest `keep` that verify.

        Raises:
            ResourceError: the disk is full; older checkpoints are unchanged.
        """
        need = num_bytes(state)
        self._check_room(need)
        try:
            with atomic_folder(self.path / _name(step)) as temporary:
                with (temporary / STATE).open("wb") as file:
                    torch.save(interned(state), file)
                about = {"format_version": FORMAT_VERSION, "step": step, **about}
                (temporary / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")
                sums = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
                (temporary / MANIFEST).write_text(json.dumps(sums, indent=2), encoding="utf-8")
            self.verify(step)
            self._point(step, best)
        except (OSError, RuntimeError) as error:
            # torch wraps an error of the disk in a RuntimeError of its own.
            raise self._unsaved(step, need, error) from error
        self._prune({step, *best}, keep)

    def settle(self, step: int, best: Sequence[int], keep: int) -> None:
        """Do what a kill may have left to do after the checkpoint of a step had been written."""
        pointers = {"latest": step, **({"best": best[0]} if best else {})}
        for name, target in pointers.items():
            path = self.path / name
            if not path.is_file() or path.read_bytes() != _name(target).encode():
                self._point(step, best)
        steps = self.steps()
        if {*steps} - {*best, *steps[-keep:]}:
            self._prune({step, *best}, keep)

    def _point(self, step: int, best: Sequence[int]) -> None:
        write_text(self.path / "latest", _name(step))
        if best:
            write_text(self.path / "best", _name(best[0]))

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, in ascending order."""
        if not self.path.is_dir():
            return []
        matches = [_NAME.fullmatch(entry.name) for entry in self.path.iterdir() if entry.is_dir()]
        return sorted(int(match[1]) for match in matches if match)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies, None for an empty folder; log those skipped.

        Raises:
            CheckpointError: checkpoints exist, but none is whole.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.load(step)
            except CheckpointError as error:
                log.info(f"passed over: {error}")
        if steps:
            raise CheckpointError(
                f"{self.path}: none of its {len(steps)} checkpoints is whole; choose another "
                "name= or remove the folder of the run to start again from step 0"
            )
        return None

    def load(self, step: int) -> Checkpoint:
        """Load the checkpoint of a step, on the CPU; nothing in its files can run code.

        Raises:
            CheckpointError: it is missing or damaged, or its format is of another version.
        """
        self.verify(step)
        folder = self.path / _name(step)
        try:
            about = read_json(folder / ABOUT)
            state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
            version = about["format_version"]
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{folder}: cannot be read: {reason}") from error
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{folder}: format_version must be {FORMAT_VERSION}, got {version!r}; another "
                "vae3d wrote it"
            )
        if about.get("step", step) != step:
            raise CheckpointError(
                f"{folder}: is the checkpoint of step {about['step']}; rename it"
            )
        return Checkpoint(step, state, about)

    def verify(self, step: int) -> None:
        """Compare every file of a checkpoint with the manifest.

        Raises:
            CheckpointError: a file is missing, truncated, or holds other bytes.
        """
        folder = self.path / _name(step)
        for name, problem in check_files(folder):
            if problem:
                raise CheckpointError(f"{folder / name}: {problem}")

    def about(self, step: int) -> dict[str, Any]:
        """Return what identifies the checkpoint of a step, without loading its state.

        Raises:
            CheckpointError: that file is missing or damaged.
        """
        folder = self.path / _name(step)
        for name, problem in check_files(folder, (ABOUT,)):
            if problem:
                raise CheckpointError(f"{folder / name}: {problem}")
        try:
            about: dict[str, Any] = from_plain(dict[str, Any], read_json(folder / ABOUT))
        except (OSError, ConfigError) as error:
            raise CheckpointError(f"{folder / ABOUT}: cannot be read: {error}") from error
        return about

    def drop_after(self, step: int) -> None:
        """Remove the checkpoints of later steps, which a training resumed at `step` replaces."""
        for later in self.steps():
            if later > step:
                shutil.rmtree(self.path / _name(later))

    def _check_room(self, need: int) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        free = free_bytes(self.path)
        if free is not None and free < need:
            raise ResourceError(
                f"{self.path}: a checkpoint takes {need / MEBIBYTE:.0f} MiB, the disk has "
                f"{free / MEBIBYTE:.0f}: {(need - free) / MEBIBYTE:.0f} MiB are missing. Make "
                "room; the same command resumes from the last checkpoint"
            )

    def _unsaved(self, step: int, need: int, error: Exception) -> ResourceError:
        whole = [s for s in self.steps() if s != step]
        earlier = f"{_name(whole[-1])} is whole" if whole else "there is none yet"
        free = free_bytes(self.path) or 0
        reason = limit_reached(error) or " ".join(str(error).split())
        return ResourceError(
            f"{self.path / _name(step)}: could not be written ({reason}): it takes "
            f"{need / MEBIBYTE:.0f} MiB, the disk has {free / MEBIBYTE:.0f}. Of the earlier ones "
            f"{earlier}; make room, the same command resumes from it"
        )

    def _prune(self, protected: set[int], keep: int) -> None:
        count = 0
        for step in reversed(self.steps()):
            if count < keep:
                # A damaged checkpoint does not count: no training could resume from it.
                try:
                    self.verify(step)
                    count += 1
                except CheckpointError as error:
                    log.info(f"removed: {error}")
                    shutil.rmtree(self.path / _name(step), ignore_errors=True)
            elif step not in protected:
                shutil.rmtree(self.path / _name(step), ignore_errors=True)


def _name(step: int) -> str:
    return f"step_{step:08d}"
