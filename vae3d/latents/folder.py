"""A folder of latents: a file for each case, what they are, and their figures together."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, DataError
from vae3d.latents.file import SUFFIX
from vae3d.runtime.files import write_json, write_text
from vae3d.runtime.plain import from_plain, read_json
from vae3d.values.latent_statistics import NAMES, LatentStatistics
from vae3d.values.naming import case_file

SETTINGS = "latents.json"
MANIFEST = "manifest.csv"
STATISTICS = "statistics.json"
NIFTI_FOLDER = "nifti"
COLUMNS = ("case_id", "split", "file", "shape", "size")


@dataclass(frozen=True)
class Entry:
    """One line of the manifest: `file` is a path below the folder, `size` that of the latent."""

    case_id: str
    split: str
    file: str
    shape: tuple[int, ...]
    size: tuple[int, ...]


def latent_file(case_id: str) -> str:
    """The path of a case's file below the folder."""
    return f"cases/{case_file(case_id)}{SUFFIX}"


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes `manifest.csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for e in entries:
        sides = ("x".join(map(str, side)) for side in (e.shape, e.size))
        writer.writerow([e.case_id, e.split, e.file, *sides])
    write_text(folder / MANIFEST, text.getvalue())


def read_manifest(folder: Path) -> list[Entry]:
    """The cases of a folder that `vae3d encode` finished.

    Raises:
        DataError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        rows = [*csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
        found = [
            Entry(
                row["case_id"],
                row["split"],
                row["file"],
                _sides(row["shape"]),
                _sides(row["size"]),
            )
            for row in rows
        ]
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {MANIFEST}; vae3d encode writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); run vae3d encode again") from error
    for entry in found:
        if entry.file != latent_file(entry.case_id):
            raise DataError(f"{path}: {entry.file!a:.80} is not where {entry.case_id!a:.80} lies")
    return found


def write_statistics(folder: Path, summary: dict[str, Any], cases: int) -> None:
    """Writes `statistics.json`: what `LatentHealth.summary` tells of so many cases."""
    write_json(folder / STATISTICS, {"cases": cases, **summary})


def read_statistics(folder: Path) -> LatentStatistics:
    """The figures to normalise by.

    Raises:
        DataError: missing or damaged.
    """
    path = folder / STATISTICS
    try:
        values = from_plain(dict[str, Any], read_json(path), "the file")
        kept = {name: values[name] for name in (*NAMES, "cases") if name in values}
        found: LatentStatistics = from_plain(LatentStatistics, kept)
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {STATISTICS}; vae3d encode writes one") from None
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}; run vae3d encode again") from error
    return found


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x"))
