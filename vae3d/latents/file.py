"""`Latent`: the posterior of one scan, its record, and the file that holds both."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vae3d.errors import ConfigError, DataError
from vae3d.files.atomic import atomic_write
from vae3d.files.plain import from_plain
from vae3d.files.reading import check_regular, open_regular, reason_of
from vae3d.latents.content import moments_of, names_of, tensors_of
from vae3d.model.checks import is_codebook
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.model.quantizer import quantizer_of
from vae3d.runtime.seeding import torch_generator
from vae3d.scans.resample import resized_affine
from vae3d.scans.volume import MAX_MILLIMETRES
from vae3d.values.header_forms import HeaderForms
from vae3d.values.identity import ScanIdentity

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
LATER_FIELDS = ("voxels", "geometry", "source_forms", "encoder", "decoder", "levels")
"""Fields that records of earlier versions do not have, and their checksums do not cover."""
DTYPES = {"float32": torch.float32, "float16": torch.float16}
MAX_HEADER_BYTES = 2**20
"""Largest header of a safetensors file: the record is a few kB."""
MAX_VOXELS = 2**31
"""Most voxels of a grid, so that a damaged record does not make a command allocate memory."""


@dataclass(frozen=True)
class LatentRecord:
    """The origin of a latent: all that is needed to decode it to the grid of its scan.

    `shape` and `affine` (n+1, n+1) are those of the encoded volume in its canonical orientation.
    `factor` is the number of its voxels per latent voxel along each axis. `source_shape`,
    `source_affine` and `source_dtype` are the grid and type of the scan's own file, if it has
    one, `source_forms` what its NIfTI header states of the grid. Values from `low` to `high` in
    `unit` are [-1, 1] for the model. `weights`, `encoder` and `decoder` are the
    fingerprints of the weights and of their two sides, and `scan` the stamp of the scan's file.
    `voxels` and `geometry` are the scan's identity (`ScanIdentity`). `levels` are those of each
    channel of a quantized latent. What later versions added is None where it is not known.
    """

    case_id: str
    split: str
    shape: list[int]
    affine: list[list[float]]
    factor: list[int]
    low: float
    high: float
    unit: str
    weights: str
    scan: str
    precision: str
    source_shape: list[int] | None = None
    source_affine: list[list[float]] | None = None
    source_dtype: str | None = None
    voxels: str | None = None
    geometry: str | None = None
    source_forms: HeaderForms | None = None
    encoder: str | None = None
    decoder: str | None = None
    levels: list[int] | None = None
    format_version: int = FORMAT_VERSION

    @property
    def identity(self) -> ScanIdentity | None:
        """Which scan was encoded; None in records of earlier versions."""
        if self.voxels is None or self.geometry is None:
            return None
        return ScanIdentity(self.voxels, self.geometry)

    @property
    def size(self) -> tuple[int, ...]:
        """The latent's spatial size."""
        return tuple(-(-n // f) for n, f in zip(self.shape, self.factor, strict=True))

    @property
    def padding(self) -> tuple[int, ...]:
        """The voxels that are added to the end of each axis to reach a multiple of `factor`."""
        return tuple(-n % f for n, f in zip(self.shape, self.factor, strict=True))

    @property
    def latent_affine(self) -> NDArray[np.float64]:
        """The affine from latent voxels to RAS millimetres; each is in the middle of its block."""
        padded = tuple(n + more for n, more in zip(self.shape, self.padding, strict=True))
        return resized_affine(np.array(self.affine, np.float64), padded, self.size)


@dataclass(frozen=True)
class Latent:
    """The posterior (C, *size) of one scan, float32."""

    record: LatentRecord
    mean: Tensor
    logvar: Tensor

    @property
    def indices(self) -> Tensor | None:
        """The entries of the codebook, int64 (*size); None unless the latent is quantized."""
        quantizer = quantizer_of(self.record.levels or ())
        return None if quantizer is None else quantizer.indices(self.mean[None])[0]

    def sample(self, seed: int, epoch: int = 0) -> Tensor:
        """Return a sample (C, *size), a pure function of (seed, epoch, case)."""
        generator = torch_generator(seed, f"latent:{self.record.case_id}", epoch)
        noise = draw_noise(self.mean.shape, generator)
        return DiagonalGaussian(self.mean, self.logvar).at(noise)


def write_latent(path: Path, latent: Latent, dtype: str = "float32") -> None:
    """Write `mean` and `logvar` as float32 or float16, with their record in the file's header.

    Of a quantized latent `indices` are written instead, int32 or int64 (*size).

    Raises:
        DataError: a value that is not finite, or too large for float16.
    """
    levels = latent.record.levels or ()
    stored = tensors_of(latent.mean, latent.logvar, levels, DTYPES[dtype])
    if not all(value.isfinite().all() for value in (latent.mean, *stored.values())):
        raise DataError(f"{latent.record.case_id}: its latent has values that {dtype} cannot hold")
    # Convert integers to floats, as reading does, so that the checksums of both are equal.
    record = _plain(from_plain(LatentRecord, dataclasses.asdict(latent.record)))
    header = json.dumps({**record, "sha256": _digest(record, stored)}, allow_nan=False)
    with atomic_write(path) as temporary:
        save_file(stored, temporary, {"vae3d": header})


def read_latent(path: Path) -> Latent:
    """Read a file of `write_latent` and verify its checksum.

    Raises:
        DataError: missing, damaged, of a newer format, or not a file of `write_latent`.
    """
    record, checksum = _read_header(path)
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in names_of(record.levels)}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    if _digest(_plain(record), stored) != checksum:
        raise DataError(f"{path}: is damaged (its checksum is wrong); encode the scan again")
    if any(tuple(value.shape)[-len(record.size) :] != record.size for value in stored.values()):
        raise DataError(f"{path}: its tensors do not have the size of its record")
    return Latent(record, *_moments(path, record.levels, stored))


def read_crop(path: Path, box: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Read mean and log-variance (C, *box) of a part of a file, float32, without its checksum.

    `box` is an index of the spatial axes, such as `Region.slices`.

    Raises:
        DataError: missing, or not a file of `write_latent`.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            names = sorted({"indices"} & {*file.keys()}) or names_of(None)
            parts = {name: file.get_slice(name)[tuple(box)] for name in names}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    # Only indices need the record, which takes longer to read than a crop.
    return _moments(path, read_record(path).levels if "indices" in parts else None, parts)


def read_record(path: Path) -> LatentRecord:
    """Read the record of a file of `write_latent`, without its tensors.

    Raises:
        DataError: as `read_latent`.
    """
    return _read_header(path)[0]


def is_latent(path: Path) -> bool:
    """Return whether a safetensors file was written by `write_latent`, by its header.

    Raises:
        DataError: it is no safetensors file.
    """
    try:
        return _open_header(path)[0] is not None
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def check_header(path: Path) -> None:
    """Raise a DataError if a safetensors file's header is too large for a latent's."""
    with open_regular(path) as raw:
        size = int.from_bytes(raw.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise DataError(f"{path}: its header has {size} bytes, at most {MAX_HEADER_BYTES}")


def _open_header(path: Path) -> tuple[str | None, set[str]]:
    """Return the text of a file's record, None without one, and the names of its tensors."""
    check_header(path)
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("vae3d"), set(file.keys())


def _read_header(path: Path) -> tuple[LatentRecord, str]:
    """Return the validated record of a file and its checksum."""
    try:
        text, names = _open_header(path)
        values = from_plain(dict[str, Any], json.loads(text or "null"), "the record")
        checksum = from_plain(str, values.pop("sha256", None), "sha256")
        record: LatentRecord = from_plain(LatentRecord, values)
    except (OSError, SafetensorError, ValueError, RecursionError, ConfigError, TypeError) as error:
        raise _unreadable(path, error) from error
    axes = len(record.shape)
    if (
        record.format_version != FORMAT_VERSION
        or (record.levels is not None and not is_codebook(record.levels))
        or names != {*names_of(record.levels)}
        or axes not in (2, 3)
        or len(record.factor) != axes
        or min(record.factor) < 1
        or not _is_grid(record.shape, record.affine, axes)
        or not record.low < record.high
        or not _has_valid_source(record, axes)
    ):
        raise DataError(f"{path}: is no latent of this version of vae3d; encode the scan again")
    return record, checksum


def _moments(
    path: Path, levels: Sequence[int] | None, stored: dict[str, Tensor]
) -> tuple[Tensor, Tensor]:
    try:
        return moments_of(stored, levels or ())
    except ValueError as error:
        raise _unreadable(path, error) from error


def _has_valid_source(record: LatentRecord, axes: int) -> bool:
    """Return whether the source is specified as a whole and valid, or not at all."""
    source = (record.source_shape, record.source_affine, record.source_dtype)
    if None in source:
        return source == (None, None, None)
    return _is_grid(record.source_shape or [], record.source_affine or [], axes)


def _is_grid(shape: list[int], affine: list[list[float]], axes: int) -> bool:
    """Return whether the shape is of a possible size, and the affine finite and invertible."""
    if len(shape) != axes or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        return False
    if [len(row) for row in affine] != [axes + 1] * (axes + 1):
        return False
    matrix = np.array(affine, np.float64)
    if not (np.abs(matrix) < MAX_MILLIMETRES).all() or matrix[-1].tolist() != [0.0] * axes + [1.0]:
        return False
    widths = np.linalg.norm(matrix[:-1, :-1], axis=0).prod()
    return bool(abs(np.linalg.det(matrix[:-1, :-1])) > 1e-6 * widths)


def _plain(record: LatentRecord) -> dict[str, Any]:
    """Return the fields of a record as its file has them."""
    values = dataclasses.asdict(record)
    return {key: value for key, value in values.items() if key not in LATER_FIELDS or value}


def _digest(record: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in tensors:
        digest.update(f"{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: is no readable latent ({reason_of(error)}); encode the scan again")
