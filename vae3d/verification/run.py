"""A run and its checkpoints; weights and reports inside are folders of their own."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae3d.autoencoder.description import CONFIG_FILE
from vae3d.autoencoder.weights import TENSOR_FILE
from vae3d.checkpoints.files import MANIFEST, STATE, check_files
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.checkpoints.recorded import damage_of_metrics
from vae3d.errors import ConfigError
from vae3d.files.checksums import is_sealed
from vae3d.files.plain import read_json
from vae3d.files.reading import read_text
from vae3d.runtime.run_folder import RunFolder
from vae3d.verification.findings import (
    CHANGED,
    DAMAGED,
    IS_MISSING,
    MISSING,
    UNREADABLE,
    WHOLE,
    Finding,
    expected_folder,
    of_format,
)

MAX_NAME_BYTES = 100
DENIED = os.strerror(errno.EACCES)


def findings(folder: Path) -> Iterator[Finding]:
    """Compare metrics.csv with the newest checkpoint; `checksums.json` has the other files.

    The pictures of the validations, which are no report, have the checksums of their format.
    """
    run = RunFolder(folder)
    yield from _missing_folders(run)
    for path in sorted(run.report("validation").glob("cases/*")):
        if path.is_file() and not path.name.startswith("."):
            yield of_format(path)
    if is_sealed(folder, run.metrics.name):
        return
    if not run.metrics.exists() and is_sealed(folder, run.summary.name):
        return  # it was removed after the end, and that was accepted
    damage = damage_of_metrics(run)
    if damage is not None:
        state = CHANGED if damage else WHOLE
        if not run.metrics.exists():
            state, damage = MISSING, IS_MISSING
        yield Finding(run.metrics, state, damage)


def checkpoint_findings(folder: Path) -> Iterator[Finding]:
    """Compare the files of a checkpoint with its manifest."""
    for name, problem in check_files(folder):
        state = DAMAGED if problem else WHOLE
        if problem == IS_MISSING:
            state = MISSING
        elif DENIED in problem:
            state, problem = UNREADABLE, f"cannot be read ({DENIED})"
        yield Finding(folder / name, state, problem)


def _missing_folders(run: RunFolder) -> Iterator[Finding]:
    """Look for the checkpoints and the weights that the run's own records name."""
    status, summary = _values(run.status), _values(run.summary)
    best, latest = (_pointed(run.checkpoints / name) for name in ("best", "latest"))
    expected = {best: "checkpoints/best names it", latest: "checkpoints/latest names it"}
    saved = status.get("last_checkpoint")
    # While a training runs, or after a kill, newer checkpoints may have replaced that one.
    may_be_replaced = (
        status.get("state") == "running" and CheckpointFolder(run.checkpoints).steps()
    )
    if isinstance(saved, int) and saved > 0 and not may_be_replaced:
        expected.setdefault(f"step_{saved:08d}", f"{run.status.name} names it")
    expected.pop("", None)
    for name, reason in sorted(expected.items()):
        yield from expected_folder(run.checkpoints / name, (MANIFEST, STATE), reason)
    has_best = best or summary.get("best_score") is not None
    for which, known in (("latest", expected or summary), ("best", has_best)):
        if known:
            reason = f"the run saved its {which} weights"
            files = (CONFIG_FILE, TENSOR_FILE)
            yield from expected_folder(run.weights(which), files, reason)


def _values(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ConfigError):
        values = read_json(path)
        return values if isinstance(values, dict) else {}
    return {}


def _pointed(path: Path) -> str:
    """Return the name of the checkpoint that a file of the run holds, "" without one."""
    with contextlib.suppress(OSError, UnicodeError):
        name = read_text(path, MAX_NAME_BYTES).strip()
        return name if name.startswith("step_") and name[5:].isdigit() else ""
    return ""
