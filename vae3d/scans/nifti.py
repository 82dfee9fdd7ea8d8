"""NIfTI-1 and NIfTI-2 files, plain or gzipped, as canonical volumes."""

import contextlib
import gzip
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from nibabel import Nifti1Header, Nifti1Image, Nifti2Header, Nifti2Image
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import OrientationError
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from vae3d.errors import VolumeError
from vae3d.files.atomic import atomic_write
from vae3d.files.gzipped import GZIP_ERRORS, exact_errors, open_gzip
from vae3d.files.reading import open_regular, reason_of
from vae3d.scans.grid import as_stored
from vae3d.scans.orientation import Orientation
from vae3d.scans.volume import SourceGeometry, Volume, check_affine
from vae3d.scans.voxels import check_size, select_channel, voxels_to_tensor
from vae3d.values.file_types import converted_slabs
from vae3d.values.geometry_findings import geometry_findings
from vae3d.values.header_forms import HeaderForms

MAX_TRAILING_BYTES = 16 * 2**20
"""Largest decompressed size of what follows the voxels of a file."""
_CHUNK_BYTES = 2**20
# nibabel logs its header repairs to stderr by default.
_SILENT = logging.Logger("nibabel-header", logging.CRITICAL)
# The axis order X, Y, Z of NIfTI, for a volume without a source file.
_REVERSED = Orientation(axes=(2, 1, 0), flips=(False, False, False))


def read_nifti(path: Path, *, channel: int | None, case_id: str) -> Volume:
    """Read a scan (1, D, H, W); 2D files get D = 1.

    `channel` indexes the fourth axis, the components of a colour, or real (0) and imaginary (1).
    """
    # No numpy warnings: NaN and overflows are checked for below and raise a VolumeError.
    with _as_volume_errors(path), np.errstate(all="ignore"):
        header, images = _load(path)
        image = select_channel(path, images, channel, _kind(header))
        return _canonical(path, header, image[..., None], case_id)


def read_channels(path: Path, *, case_id: str) -> Volume:
    """Read all channels (C, D, H, W) of a file, whose fourth axis is the channels."""
    with _as_volume_errors(path), np.errstate(all="ignore"):
        return _canonical(path, *_load(path), case_id)


def _canonical(path: Path, header: Nifti1Header, images: NDArray[Any], case_id: str) -> Volume:
    """Return the file's voxels (X, Y, Z, C) in canonical orientation and the scan's own units.

    The affine is in millimetres, whatever the unit of the header.
    """
    forms = HeaderForms.of(header)
    affine = np.asarray(header.get_best_affine(), np.float64)
    check_affine(path, affine)
    affine[:3] *= forms.millimetres
    orientation = Orientation.of(affine)
    slope, intercept = header.get_slope_inter()
    slope, intercept = slope or 1.0, intercept or 0.0
    channels = [
        voxels_to_tensor(path, orientation.apply(image), slope, intercept)
        for image in np.moveaxis(images, -1, 0)
    ]
    data = channels[0][None] if len(channels) == 1 else torch.stack([c.float() for c in channels])
    # The file's integer type cannot hold values that slope and intercept have scaled.
    scaled = (slope, intercept) != (1.0, 0.0)
    kind = str(data.numpy().dtype) if scaled else images.dtype.name
    shape = images.shape[:3]
    findings = geometry_findings(forms, affine, shape)
    source = SourceGeometry(path, shape, affine, kind, forms, findings)
    return Volume(data, affine @ orientation.index_map(shape), case_id, source)


@contextlib.contextmanager
def _as_volume_errors(path: Path) -> Iterator[None]:
    """Convert the errors of nibabel, numpy and gzip to a VolumeError with the file's path."""
    try:
        yield
    except EOFError as error:
        raise VolumeError(path, "is truncated: its data end too early; copy it again") from error
    except GZIP_ERRORS as error:
        raise VolumeError(path, f"is no whole gzip file ({error}); copy it again") from error
    except MemoryError as error:
        raise VolumeError(path, "does not fit into memory; crop or downsample it") from error
    except (
        HeaderDataError,
        ImageFileError,
        OrientationError,
        np.linalg.LinAlgError,
        OSError,
        OverflowError,
        ValueError,
    ) as error:
        reason = reason_of(error)
        raise VolumeError(path, f"is no readable NIfTI file ({reason})") from error


def _load(path: Path) -> tuple[Nifti1Header, NDArray[Any]]:
    """Return the header and the raw voxels (X, Y, Z, n); memory is allocated after all checks."""
    with _opened(path) as stream:
        header = _read_header(path, stream)
        shape = _checked_shape(path, header)
        number, components = _components(header.get_data_dtype())
        count = components * math.prod(shape)
        stream.seek(_checked_offset(path, header, count * number.itemsize))
        voxels = np.empty(count, number)
        _fill(stream, voxels)
        _drain(path, stream)
    # The components of a voxel are contiguous; the channels of a fourth axis are whole volumes.
    images = voxels.reshape((components, *shape), order="F")
    return header, images[0] if components == 1 else np.moveaxis(images[..., 0], 0, -1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, decompressed if its name ends with .gz."""
    with open_regular(path) as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with exact_errors(file), open_gzip(file) as stream:
            yield stream


def _read_header(path: Path, stream: BinaryIO) -> Nifti1Header:
    start = stream.read(Nifti2Header.sizeof_hdr)
    kinds = (kind for kind in (Nifti1Header, Nifti2Header) if kind.may_contain_header(start))
    kind = next(kinds, None)
    if kind is None:
        raise VolumeError(path, "is no NIfTI file: its header is missing or damaged")
    header = kind(start[: kind.sizeof_hdr], check=False)
    if header["magic"].item() != header.single_magic:
        raise VolumeError(path, "is half of a NIfTI pair; convert it to a single .nii file")
    _check_zooms(path, header)
    header.check_fix(logger=_SILENT, error_level=40)
    return header


def _check_zooms(path: Path, header: Nifti1Header) -> None:
    # Without an sform the affine is computed from the zooms, and nibabel replaces 0 by 1 mm.
    zooms = header["pixdim"][1 : 1 + min(int(header["dim"][0]), 3)]
    if header["sform_code"] == 0 and not (zooms != 0).all():
        raise VolumeError(path, f"has voxels of size {zooms.tolist()} mm; set pixdim or an sform")


def _checked_shape(path: Path, header: Nifti1Header) -> tuple[int, ...]:
    """Return the shape (X, Y, Z, n), with axes of length 1 added or removed."""
    dims = header.get_data_shape()
    if min(dims) < 1 or len(dims) < 2:
        raise VolumeError(path, f"holds no image: its shape is {dims}")
    _, components = _components(header.get_data_dtype())
    channels = [n for n in (*dims[3:], components) if n != 1]
    if len(channels) > 1:
        raise VolumeError(path, f"has shape {dims} of {_kind(header)}; split it into 3D scans")
    return *(*dims, 1)[:3], math.prod(dims[3:])


def _checked_offset(path: Path, header: Nifti1Header, size: int) -> int:
    """Return the offset of the voxels; VolumeError if the file cannot hold `size` bytes there."""
    offset = max(int(header.get_data_offset()), int(header.single_vox_offset))
    on_disk = path.stat().st_size
    # Deflate encodes at best 258 bytes in 2 bits: a factor of 1032.
    room = 1032 * on_disk + 65536 if path.suffix.lower() == ".gz" else on_disk
    check_size(path, offset + size, room)
    return offset


def _components(dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int]:
    """Return the type of a voxel's components and their number: 1, or more for RGB and complex."""
    if dtype.fields:
        return np.dtype(np.uint8), len(dtype.fields)
    if dtype.kind == "c":
        return np.empty(0, dtype).real.dtype, 2
    return dtype, 1


def _kind(header: Nifti1Header) -> str:
    dtype = header.get_data_dtype()
    if dtype.fields:
        return "colours (" + "".join(dtype.fields) + ")"
    return f"{dtype} parts (0 is real, 1 imaginary)" if dtype.kind == "c" else "channels"


def _fill(stream: BinaryIO, voxels: NDArray[Any]) -> None:
    buffer = voxels.view(np.uint8).data
    for start in range(0, len(buffer), _CHUNK_BYTES):
        chunk = buffer[start : start + _CHUNK_BYTES]
        # Both kinds of stream are buffered: fewer bytes mean that there are no more.
        if stream.readinto(chunk) < len(chunk):  # type: ignore[attr-defined]
            raise EOFError


def _drain(path: Path, stream: BinaryIO) -> None:
    """Read to the end, where gzip verifies its checksum; refuse a decompression bomb."""
    trailing = 0
    while chunk := stream.read(_CHUNK_BYTES):
        trailing += len(chunk)
        if trailing > MAX_TRAILING_BYTES:
            raise VolumeError(path, "has more than 16 MiB of data after its voxels; save it again")


def write_nifti(path: Path, volume: Volume, dtype: str) -> None:
    """Write a volume (C, D, H, W) in the axis order, shape and affine of its source.

    On the grid of a NIfTI file all fields that place its voxels are written as they were, with
    codes and units; other grids are written in millimetres, with codes 1 (scanner). Voxels are
    converted and written slab by slab.
    """
    volume = as_stored(path, volume, dtype)
    orientation = Orientation.of(volume.source.affine) if volume.source else _REVERSED
    # One channel is a plain 3D file, several become the fourth axis.
    channels = [orientation.undo(channel) for channel in volume.data.numpy(force=True)]
    shape = *channels[0].shape, *([len(channels)] if len(channels) > 1 else [])
    header = _header_of(volume, orientation, shape, dtype)
    with (
        atomic_write(path) as temporary,
        temporary.open("wb") as file,
        _compressed(path, file) as stream,
    ):
        header.write_to(stream)
        for channel in channels:
            # In the file X varies fastest: that is C order of (Z, Y, X).
            for slab in converted_slabs(channel.T, dtype):
                stream.write(slab.data)


def _header_of(
    volume: Volume, orientation: Orientation, shape: tuple[int, ...], dtype: str
) -> Nifti1Header:
    """Return the header of a file of this shape (X, Y, Z), or (X, Y, Z, C), without scaling."""
    source = volume.source
    # Nibabel takes shape and type from an array; this one has no memory.
    array = np.broadcast_to(np.zeros((), dtype), shape)
    kind = Nifti1Image if max(shape) < 2**15 else Nifti2Image
    if source and source.forms:
        header = kind.header_class()
        source.forms.set_on(header)
        # Without an affine nibabel leaves the fields as they are.
        image = kind(array, None, header, dtype=array.dtype)
    else:
        index_map = orientation.index_map(shape[:3])
        affine = source.affine if source else volume.affine @ np.linalg.inv(index_map)
        image = kind(array, affine, dtype=array.dtype)
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm")
    image.update_header()
    image.header.set_slope_inter(1.0, 0.0)
    return image.header


@contextlib.contextmanager
def _compressed(path: Path, file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a stream that writes to `file`, compressed if the path ends with .gz."""
    if path.suffix.lower() != ".gz":
        yield file
        return
    # No name and no time in the gzip header: equal volumes are written as equal bytes.
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as stream:
        yield cast(BinaryIO, stream)
