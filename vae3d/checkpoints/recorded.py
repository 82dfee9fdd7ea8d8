"""A run's metrics.csv against what its newest checkpoint knows of it."""

import contextlib
import logging

from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.errors import CheckpointError
from vae3d.files.checksums import is_sealed, warn_if_changed
from vae3d.files.reading import read_bytes
from vae3d.logger.rows import MAX_BYTES, Written
from vae3d.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)


def damage_of_metrics(run: RunFolder) -> str | None:
    """Return what is wrong with metrics.csv, "" if it is whole, None if that is not known."""
    checkpoints = CheckpointFolder(run.checkpoints)
    for step in reversed(checkpoints.steps()):
        with contextlib.suppress(CheckpointError):
            written = Written.of(checkpoints.about(step).get("metrics"))
            if written is None:
                return None
            try:
                is_whole = written.begins(read_bytes(run.metrics, MAX_BYTES))
            except OSError as error:
                return f"cannot be read ({error.strerror})"
            return "" if is_whole else f"is not as the checkpoint of step {step} knows it"
    return None


def warn_of_metrics(run: RunFolder) -> None:
    """Log one line if metrics.csv, whose curves are about to be drawn, was changed."""
    if is_sealed(run.path, run.metrics.name):
        warn_if_changed(run.metrics)
    elif damage := damage_of_metrics(run):
        log.warning(f"{run.metrics}: {damage}; its curves are drawn as they are")
