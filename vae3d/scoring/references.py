"""References for the scores: the scan as it is on disk."""

from torch import Tensor

from vae3d.data.cases import Case
from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.resample import resample_to_shape


def scan_on_disk(case: Case, values: Tensor) -> Tensor:
    """Return the scan (C, *spatial) as it is on disk: on its own grid, not clipped.

    These are the `values` of the case, unless it was resampled.

    Raises:
        VolumeError: the case was resampled, and its file no longer exists or has changed.
    """
    source = case.geometry
    if source is None or sorted(source.shape) == sorted(values.shape[1:]):
        return values
    volume = read_volume(source.path)
    if sorted(volume.shape) != sorted(source.shape) or len(volume.data) != len(values):
        raise VolumeError(source.path, "has changed since it was prepared")
    return volume.data


def on_grid_of(values: Tensor, scan: Tensor) -> Tensor:
    """Return values (C, *spatial) resampled to the grid of a scan with the same field of view."""
    if values.shape[1:] == scan.shape[1:]:
        return values
    return resample_to_shape(values, tuple(scan.shape[1:]))
