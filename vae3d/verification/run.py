"""A run and its checkpoints; weights and reports inside are folders of their own."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.files.checksums import is_sealed
from vae3d.runtime.run_folder import RunFolder
from vae3d.trainer.checkpoint import check_files
from vae3d.trainer.recorded import damage_of_metrics
from vae3d.verification.findings import CHANGED, DAMAGED, WHOLE, Finding, of_format


def findings(folder: Path) -> Iterator[Finding]:
    """Compare metrics.csv with the newest checkpoint; `checksums.json` has the other files.

    The pictures of the validations, which are no report, have the checksums of their format.
    """
    run = RunFolder(folder)
    for path in sorted(run.report("validation").glob("cases/*")):
        if path.is_file() and not path.name.startswith("."):
            yield of_format(path)
    if is_sealed(folder, run.metrics.name):
        return
    damage = damage_of_metrics(run)
    if damage is not None:
        yield Finding(run.metrics, CHANGED if damage else WHOLE, damage)


def checkpoint_findings(folder: Path) -> Iterator[Finding]:
    """Compare the files of a checkpoint with its manifest."""
    for name, problem in check_files(folder):
        path = folder / name
        yield Finding(path, DAMAGED if problem else WHOLE, problem)
