"""Read scans and images of every format as canonical volumes; write them on their own grid."""

from dataclasses import replace
from pathlib import Path

from vae3d.errors import VolumeError
from vae3d.files.reading import check_kind
from vae3d.runtime.choices import READERS
from vae3d.runtime.registry import load
from vae3d.scans.foreign import refusal
from vae3d.scans.formats import FORMATS, case_name, scan_suffix
from vae3d.scans.volume import Volume, check_affine, without_unit
from vae3d.values.identity import ScanIdentity


def read_volume(
    path: str | Path,
    *,
    channel: int | None = None,
    case_id: str | None = None,
    reader: int = READERS[-1],
) -> Volume:
    """Read a scan or an image in its own units.

    `channel` selects one image of a file that holds several. `case_id` is by default the file's
    name without its suffix. `reader` 1 takes the numbers of every NIfTI header for millimetres, as
    earlier versions did. Raises VolumeError for anything that is not one whole image.
    """
    path = Path(path)
    suffix = scan_suffix(path)
    if suffix is None:
        no_suffix = f"has no suffix of a scan; use one of {', '.join(FORMATS)}"
        raise VolumeError(path, refusal(path) or no_suffix)
    _check_file(path)
    name = case_id or case_name(path.name)
    try:
        volume: Volume = load(FORMATS[suffix].reader)(path, channel=channel, case_id=name)
    except (VolumeError, MemoryError):
        raise
    except Exception as error:  # a library that reads a damaged file may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise VolumeError(path, f"cannot be read ({reason})") from error
    if reader == 1:
        volume = without_unit(volume)
    check_affine(path, volume.affine)
    return replace(volume, identity=ScanIdentity.of(volume.data.numpy(), volume.affine))


def _check_file(path: Path) -> None:
    try:
        if not path.exists():
            raise VolumeError(path, "does not exist; check the path")
        check_kind(path)
        if path.stat().st_size == 0:
            raise VolumeError(path, "is empty (0 bytes); copy it again")
    except OSError as error:
        raise VolumeError(path, f"cannot be opened ({error.strerror}); check the path") from error


def write_volume(volume: Volume, path: Path, *, dtype: str | None = None) -> None:
    """Write a volume as .nii or .nii.gz, an image as .png or .tiff, either one as .npy.

    A volume that covers the field of view of its `source` is resampled to the source's own grid:
    NIfTI in its axis order, shape and affine, the other formats in its shape. Integer types are
    rounded and clipped. `dtype` is by default float32; for .png uint8, or uint16 if the source
    is uint16. `dtype="source"` is the type of the source's file, if this format has it. Raises
    VolumeError for a format or a dtype that cannot hold the volume.
    """
    suffix = scan_suffix(path)
    format_ = FORMATS.get(suffix or "")
    if format_ is None or not format_.writer:
        writable = [name for name, entry in FORMATS.items() if entry.writer]
        raise VolumeError(path, f"has no suffix to write; use one of {', '.join(writable)}")
    if len(volume.shape) not in format_.axes:
        raise VolumeError(
            path, f"cannot hold shape {volume.shape}; use .nii.gz for 3D, .png for 2D"
        )
    dtypes = format_.dtypes
    kind = _default_dtype(volume, dtypes, dtype) if dtype in (None, "source") else dtype
    if kind not in dtypes:
        raise VolumeError(path, f"dtype must be one of {', '.join(dtypes)}, got {kind}")
    load(format_.writer)(path, volume, kind)


def _default_dtype(volume: Volume, dtypes: tuple[str, ...], requested: str | None) -> str:
    if "float32" in dtypes and requested != "source":
        return "float32"
    return volume.source.dtype if volume.source and volume.source.dtype in dtypes else dtypes[0]
