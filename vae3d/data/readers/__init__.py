"""Scans and images of every format that vae3d reads, as canonical volumes."""

from pathlib import Path
from typing import Protocol

from vae3d.data.volume import Volume
from vae3d.errors import VolumeError
from vae3d.runtime.registry import Registry


class Reader(Protocol):
    """Reads one file, which is there and not empty, or raises VolumeError."""

    def __call__(self, path: Path, *, channel: int | None, case_id: str) -> Volume: ...


_NIFTI = "vae3d.data.readers.nifti:read_nifti"
_IMAGE = "vae3d.data.readers.image:read_image"

READERS: Registry[Reader] = Registry(
    "reader",
    {
        ".nii.gz": _NIFTI,
        ".nii": _NIFTI,
        ".png": _IMAGE,
        ".jpg": _IMAGE,
        ".jpeg": _IMAGE,
        ".tif": _IMAGE,
        ".tiff": _IMAGE,
        ".npy": _IMAGE,
    },
)
"""Readers by the suffix of a file's name, longest first."""


def scan_suffix(path: str | Path) -> str | None:
    """The suffix of READERS that the name ends with, in lower case; None where there is none."""
    name = Path(path).name.lower()
    return next((suffix for suffix in READERS if name.endswith(suffix)), None)


def is_scan(path: str | Path) -> bool:
    """Whether the name is that of a scan; hidden files, as macOS leaves them, are none."""
    return not Path(path).name.startswith(".") and scan_suffix(path) is not None


def case_name(path: str | Path) -> str:
    """The file's name without its suffix: `a/case_01.nii.gz` is `case_01`."""
    name = Path(path).name
    return name[: len(name) - len(scan_suffix(path) or "")]


def read_volume(
    path: str | Path, *, channel: int | None = None, case_id: str | None = None
) -> Volume:
    """Reads a scan or an image in its own units.

    `channel` chooses one image of a file that holds several; `case_id` is the file's name without
    its suffix unless it is given. Raises VolumeError for anything that is not one whole image.
    """
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix is None:
        raise VolumeError(path, f"has no suffix of a scan; use one of {', '.join(READERS)}")
    _check_file(path)
    return READERS[suffix](path, channel=channel, case_id=case_id or case_name(path))


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise VolumeError(path, "does not exist; check the path")
        if not path.is_file():
            raise VolumeError(path, "is not a file; name the scan itself")
        if path.stat().st_size == 0:
            raise VolumeError(path, "is empty (0 bytes); copy it again")
    except OSError as error:
        raise VolumeError(path, f"cannot be opened ({error.strerror}); check the path") from error
