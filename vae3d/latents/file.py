"""`Latent`: the posterior of one scan as a file, with the way back to the scan."""

import dataclasses
import hashlib
import json
import math
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
from vae3d.model.gaussian import DiagonalGaussian, draw_noise
from vae3d.runtime.files import atomic_write
from vae3d.runtime.plain import from_plain
from vae3d.runtime.seeding import torch_generator
from vae3d.scans.resample import resized_affine
from vae3d.scans.volume import MAX_MILLIMETRES

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
MAX_HEADER_BYTES = 2**20
MAX_VOXELS = 2**31
"""Of a grid; a file that tells more would have memory taken for nothing."""


@dataclass(frozen=True)
class LatentRecord:
    """Where a latent comes from, and what leads back there.

    `shape` and `affine` (n+1, n+1) are those of the encoded volume in its canonical orientation,
    `factor` its voxels to a latent voxel. `source_shape`, `source_affine` and `source_dtype` tell
    the grid of the scan's own file, if it has one. `low` to `high` in `unit` became [-1, 1].
    `weights` and `scan` change when the weights and the scan do.
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
    format_version: int = FORMAT_VERSION

    @property
    def size(self) -> tuple[int, ...]:
        """The latent's spatial size."""
        return tuple(-(-n // f) for n, f in zip(self.shape, self.factor, strict=True))

    @property
    def padding(self) -> tuple[int, ...]:
        """How many voxels each axis was continued by past its end, to fit `factor`."""
        return tuple(-n % f for n, f in zip(self.shape, self.factor, strict=True))

    @property
    def latent_affine(self) -> NDArray[np.float64]:
        """Indices of the latent's voxels to RAS millimetres: each in the middle of its block."""
        padded = tuple(n + more for n, more in zip(self.shape, self.padding, strict=True))
        return resized_affine(np.array(self.affine, np.float64), padded, self.size)


@dataclass(frozen=True)
class Latent:
    """The posterior (C, *size) of one scan, float32."""

    record: LatentRecord
    mean: Tensor
    logvar: Tensor

    def sample(self, seed: int, epoch: int = 0) -> Tensor:
        """A sample (C, *size) that (seed, epoch, case) decides alone."""
        generator = torch_generator(seed, f"latent:{self.record.case_id}", epoch)
        noise = draw_noise(self.mean.shape, generator)
        return DiagonalGaussian(self.mean, self.logvar).at(noise)


def write_latent(path: Path, latent: Latent, dtype: str = "float32") -> None:
    """Writes `mean` and `logvar` as float32 or float16, with their record in the file's header.

    Raises:
        DataError: a value that is not finite, or too large for float16.
    """
    tensors = {"mean": latent.mean, "logvar": latent.logvar}
    stored = {name: value.to(DTYPES[dtype]).contiguous() for name, value in tensors.items()}
    if not all(value.isfinite().all() for value in stored.values()):
        raise DataError(f"{latent.record.case_id}: its latent holds values that {dtype} cannot")
    # Whole numbers become floats as they will when it is read: the checksum is of what is told.
    record = dataclasses.asdict(from_plain(LatentRecord, dataclasses.asdict(latent.record)))
    described = json.dumps({**record, "sha256": _digest(record, stored)}, allow_nan=False)
    with atomic_write(path) as temporary:
        save_file(stored, temporary, {"vae3d": described})


def read_latent(path: Path) -> Latent:
    """Reads a file of `write_latent`, whose checksum must be right.

    Raises:
        DataError: missing, damaged, of a newer format, or no such file.
    """
    record, checksum = _described(path)
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in ("mean", "logvar")}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    if _digest(dataclasses.asdict(record), stored) != checksum:
        raise DataError(f"{path}: is damaged (its checksum is another); encode the scan again")
    if any(tuple(value.shape[1:]) != record.size for value in stored.values()):
        raise DataError(f"{path}: its tensors are not of the size that its record tells")
    return Latent(record, stored["mean"].float(), stored["logvar"].float())


def read_record(path: Path) -> LatentRecord:
    """Reads what a file of `write_latent` tells of itself, and no tensor.

    Raises:
        DataError: as `read_latent`.
    """
    return _described(path)[0]


def is_latent(path: Path) -> bool:
    """Whether a safetensors file says of itself that `write_latent` made it.

    Raises:
        DataError: it is no such file.
    """
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            return "vae3d" in (file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error


def check_header(path: Path) -> None:
    """Raises a DataError for a safetensors file whose header is no header of a latent."""
    with path.open("rb") as raw:
        size = int.from_bytes(raw.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise DataError(f"{path}: its header has {size} bytes, at most {MAX_HEADER_BYTES}")


def _described(path: Path) -> tuple[LatentRecord, str]:
    try:
        check_header(path)
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get("vae3d")
            names = set(file.keys())
        values = from_plain(dict[str, Any], json.loads(told or "null"), "the record")
        checksum = from_plain(str, values.pop("sha256", None), "sha256")
        record: LatentRecord = from_plain(LatentRecord, values)
    except (OSError, SafetensorError, ValueError, RecursionError, ConfigError, TypeError) as error:
        raise _unreadable(path, error) from error
    axes = len(record.shape)
    if (
        record.format_version != FORMAT_VERSION
        or names != {"mean", "logvar"}
        or axes not in (2, 3)
        or len(record.factor) != axes
        or min(record.factor) < 1
        or not _is_grid(record.shape, record.affine, axes)
        or not record.low < record.high
        or not _has_source(record, axes)
    ):
        raise DataError(f"{path}: is no latent of this version of vae3d; encode the scan again")
    return record, checksum


def _has_source(record: LatentRecord, axes: int) -> bool:
    told = (record.source_shape, record.source_affine, record.source_dtype)
    if None in told:
        return told == (None, None, None)
    return _is_grid(record.source_shape or [], record.source_affine or [], axes)


def _is_grid(shape: list[int], affine: list[list[float]], axes: int) -> bool:
    """Whether a grid has a size that a scan can have, and a place for each of its voxels."""
    if len(shape) != axes or min(shape) < 1 or math.prod(shape) > MAX_VOXELS:
        return False
    if [len(row) for row in affine] != [axes + 1] * (axes + 1):
        return False
    matrix = np.array(affine, np.float64)
    if not (np.abs(matrix) < MAX_MILLIMETRES).all() or matrix[-1].tolist() != [0.0] * axes + [1.0]:
        return False
    widths = np.linalg.norm(matrix[:-1, :-1], axis=0).prod()
    return bool(abs(np.linalg.det(matrix[:-1, :-1])) > 1e-6 * widths)


def _digest(record: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    for name in ("mean", "logvar"):
        digest.update(f"{tensors[name].dtype}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: is no readable latent ({reason}); encode the scan again")
