"""Latents against their own checksums, and against the list of them."""

from collections.abc import Iterator
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.checksums import is_sealed
from vae3d.files.lock import is_held
from vae3d.files.unfinished import UNFINISHED
from vae3d.latents.file import SUFFIX, read_latent
from vae3d.latents.folder import (
    MANIFEST,
    NIFTI_FOLDER,
    STATISTICS,
    cases_of,
    latent_file,
    read_manifest,
)
from vae3d.runtime.messages import counted
from vae3d.verification.findings import DAMAGED, WHOLE, Finding, of_error, of_format, unfinished


def findings(folder: Path) -> Iterator[Finding]:
    """Read every latent; compare the manifest with the files and with the statistics."""
    found = folder.glob(f"cases/*/*{SUFFIX}")
    # Temporary files of an encoding that runs, or was killed, are no latents.
    files = {file for file in found if not file.name.startswith(".")}
    path = folder / MANIFEST
    is_new = not path.exists() and not is_sealed(folder, MANIFEST)
    if is_new or (folder / UNFINISHED).exists():
        yield unfinished(folder, "vae3d encode", is_held(folder / ".lock"))
    try:
        entries = [] if is_new else read_manifest(folder)
    except DataError as error:
        yield of_error(path, error)
    else:
        files |= {folder / entry.file for entry in entries}
        expected = None if is_new else cases_of(folder)
        if expected not in (None, len(entries)):
            reason = f"lists {counted(len(entries), 'latent')}, {STATISTICS} counts {expected}"
            yield Finding(path, DAMAGED, reason)
    for file in sorted(files):
        yield _latent(file)
    for file in sorted(folder.glob(f"{NIFTI_FOLDER}/*")):
        if not file.name.startswith("."):
            yield of_format(file)


def _latent(path: Path) -> Finding:
    try:
        case_id = read_latent(path).record.case_id
    except DataError as error:
        return of_error(path, error)
    if not path.as_posix().endswith(f"/{latent_file(case_id)}"):
        return Finding(path, DAMAGED, f"is the latent of {case_id!a:.80}")
    return Finding(path, WHOLE)
