"""The table of file formats of scans and images; importing it imports no image library."""

from dataclasses import dataclass
from pathlib import Path

PNG_DTYPES = ("uint8", "uint16")
IMAGE_DTYPES = ("float32", *PNG_DTYPES)
DTYPES = (*IMAGE_DTYPES, "int8", "int16", "int32", "float64")
"""Number types that scans can be written in."""


@dataclass(frozen=True)
class Format:
    """How files of a suffix are read and written.

    `axes` are the numbers of spatial axes that a file can hold. `reader` and `writer` are named
    as `module:function`. The reader is called as `(path, *, channel, case_id)` for a file that is
    not empty, the writer as `(path, volume, dtype)`; it writes the whole file or none. `dtypes`
    are the types that can be written, the default first. A format without a writer can only be
    read. `sized` are formats whose files state the size of a voxel.
    """

    axes: tuple[int, ...]
    reader: str
    writer: str = ""
    dtypes: tuple[str, ...] = ()
    sized: bool = False


_NIFTI = Format(
    (3,), "vae3d.scans.nifti:read_nifti", "vae3d.scans.nifti:write_nifti", DTYPES, True
)
_NUMPY = Format((2, 3), "vae3d.scans.image:read_image", "vae3d.scans.image:write_npy", DTYPES)
_PNG = Format((2,), "vae3d.scans.image:read_image", "vae3d.scans.image:write_image", PNG_DTYPES)
_TIFF = Format((2,), "vae3d.scans.image:read_image", "vae3d.scans.image:write_image", IMAGE_DTYPES)
_JPEG = Format((2,), "vae3d.scans.image:read_image")

FORMATS: dict[str, Format] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".npy": _NUMPY,
}
"""Formats by file suffix; of two suffixes that match a name, the longer one comes first."""


def suffixes(axes: int) -> tuple[str, ...]:
    """Return the suffixes of the formats that can hold a scan with `axes` spatial axes."""
    return tuple(suffix for suffix, format_ in FORMATS.items() if axes in format_.axes)


def scan_suffix(path: str | Path) -> str | None:
    """Return the suffix of FORMATS that the name ends with, in lower case, or None."""
    name = Path(path).name.lower()
    return next((suffix for suffix in FORMATS if name.endswith(suffix)), None)


def is_sized(path: str | Path) -> bool:
    """Return whether files of this name state the size of a voxel."""
    suffix = scan_suffix(path)
    return suffix is not None and FORMATS[suffix].sized


def is_scan(path: str | Path) -> bool:
    """Return whether the name is that of a scan; hidden files, as macOS creates them, are not."""
    return not Path(path).name.startswith(".") and scan_suffix(path) is not None


def case_name(path: str | Path) -> str:
    """Return a path without the suffix of its format: `a/case_01` of `a/case_01.nii.gz`."""
    name = Path(path).as_posix()
    return name[: len(name) - len(scan_suffix(path) or "")]
