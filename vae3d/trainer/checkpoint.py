"""The whole state of a training on disk: a folder a step, written beside and renamed."""

import re
import shutil
from pathlib import Path
from typing import Any

import torch

from vae3d.errors import RunError
from vae3d.runtime.files import atomic_folder, write_text

STATE_FILE = "state.pt"
_NAME = re.compile(r"step_(\d{8})")


class CheckpointFolder:
    """The checkpoints of a run; `latest` and `best` hold the name of one of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, step: int, state: dict[str, Any], *, best: bool, keep: int) -> None:
        """Writes a checkpoint, points to it, and drops all but the newest `keep` and the best.

        `state` holds tensors, numbers, strings, lists and dicts only.
        """
        name = f"step_{step:08d}"
        with atomic_folder(self.path / name) as temporary:
            torch.save(state, temporary / STATE_FILE)
        write_text(self.path / "latest", name)
        if best:
            write_text(self.path / "best", name)
        self._prune(keep)

    def steps(self) -> list[int]:
        """The steps of all whole checkpoints, in order."""
        if not self.path.is_dir():
            return []
        found = [_NAME.fullmatch(entry.name) for entry in self.path.iterdir()]
        return sorted(int(match[1]) for match in found if match)

    def load(self, step: int) -> dict[str, Any]:
        """The state of one step, on the CPU; nothing in the file can run code.

        Raises:
            RunError: it cannot be read.
        """
        path = self.path / f"step_{step:08d}" / STATE_FILE
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(f"{path}: not a checkpoint that can be read: {reason}") from error
        return state

    def _prune(self, keep: int) -> None:
        best = self.path / "best"
        kept = {best.read_text()} if best.exists() else set()
        kept |= {f"step_{step:08d}" for step in self.steps()[-keep:]}
        for step in self.steps():
            name = f"step_{step:08d}"
            if name not in kept:
                shutil.rmtree(self.path / name)
