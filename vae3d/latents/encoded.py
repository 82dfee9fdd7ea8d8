"""The files of one case in a folder of latents: read if they are whole, written if not."""

import logging
from collections.abc import Callable
from pathlib import Path

from vae3d.errors import DataError
from vae3d.latents.file import Latent, read_latent, write_latent
from vae3d.latents.folder import NIFTI_FOLDER, latent_file
from vae3d.scans.files import write_volume
from vae3d.scans.volume import Volume
from vae3d.values.identity import ScanIdentity
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)


def read_encoded(
    folder: Path, case_id: str, scan: str, split_of: Callable[[ScanIdentity | None], str]
) -> Latent | None:
    """Return the stored latent of a case; None if it is not whole, of another scan or split.

    `scan` is the mark of the scan's file. A damaged latent is logged.
    """
    path = folder / latent_file(case_id)
    if not (path.exists() and scan):
        return None
    try:
        stored = read_latent(path)
    except DataError as error:
        log.warning(f"encoded again: {error}")
        return None
    record, split = stored.record, split_of(stored.record.identity)
    is_same = (record.case_id, record.scan, record.split) == (case_id, scan, split)
    return stored if is_same else None


def write_encoded(
    folder: Path, latent: Latent, dtype: str, nifti: bool, is_stored: bool
) -> Latent:
    """Write the files of a case that are due, and return its latent as it is stored.

    With `nifti` the mean is also written as a NIfTI file that is aligned with the scan.
    """
    record = latent.record
    if not is_stored:
        path = folder / latent_file(record.case_id)
        write_latent(path, latent, dtype)
        # Read back, so that statistics are of the stored values (dtype may be float16).
        latent = read_latent(path)
    path = folder / NIFTI_FOLDER / f"{file_stem(record.case_id)}.nii.gz"
    if nifti and not (is_stored and path.exists()):
        write_volume(Volume(latent.mean, record.latent_affine, record.case_id), path)
    return latent
