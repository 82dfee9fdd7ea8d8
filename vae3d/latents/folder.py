"""A folder of latents: one file for each case, a manifest, and the statistics of all."""

import contextlib
import csv
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, DataError
from vae3d.files.atomic import atomic_write, write_json
from vae3d.files.checksums import warn_if_changed
from vae3d.files.links import check_inside
from vae3d.files.plain import from_plain, read_json
from vae3d.files.reading import open_text, reason_of
from vae3d.latents.file import SUFFIX, Latent, read_latent
from vae3d.runtime.messages import counted
from vae3d.values.latent_statistics import NAMES, LatentStatistics
from vae3d.values.naming import case_file

log = logging.getLogger(__name__)

SETTINGS = "latents.json"
MANIFEST = "manifest.csv"
STATISTICS = "statistics.json"
COMPARED = "of_this_folder"
"""The key of what was measured on the latents of the folder, next to the weights' statistics."""
NIFTI_FOLDER = "nifti"


@dataclass(frozen=True)
class Entry:
    """One line of the manifest: `file` is relative to the folder, `size` is that of the latent.

    `voxels` is the scan's identity, `weights` the fingerprint of what encoded it; both are empty
    where they are not known.
    """

    case_id: str
    split: str
    file: str
    shape: tuple[int, ...]
    size: tuple[int, ...]
    voxels: str = ""
    weights: str = ""


def latent_file(case_id: str) -> str:
    """Return the path of a case's file, relative to the folder."""
    return f"cases/{case_file(case_id)}{SUFFIX}"


def write_manifest(folder: Path, entries: Sequence[Entry]) -> None:
    """Write `manifest.csv`."""
    with (
        atomic_write(folder / MANIFEST) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Entry))
        for e in entries:
            sides = ("x".join(map(str, side)) for side in (e.shape, e.size))
            writer.writerow([e.case_id, e.split, e.file, *sides, e.voxels, e.weights])


def read_manifest(folder: Path) -> list[Entry]:
    """Read the manifest of a folder, which `vae3d encode` writes at its end.

    Raises:
        DataError: missing or damaged.
    """
    path = check_inside(folder, folder / MANIFEST)
    warn_if_changed(path)
    try:
        with open_text(path) as file:
            entries = [*map(_entry, csv.DictReader(file, strict=True))]
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {MANIFEST}; vae3d encode writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read ({reason_of(error)}); run vae3d encode again"
        ) from error
    for entry in entries:
        if entry.file != latent_file(entry.case_id):
            raise DataError(f"{path}: {entry.file!a:.80} is not the file of {entry.case_id!a:.80}")
    counted_cases = cases_of(folder)
    if counted_cases not in (None, len(entries)):
        log.warning(
            f"{path}: lists {counted(len(entries), 'latent')}, {STATISTICS} counts "
            f"{counted_cases}; vae3d encode writes both again"
        )
    return entries


def _entry(row: dict[str, str]) -> Entry:
    sides = _sides(row["shape"]), _sides(row["size"])
    known = (row.get(key) or "" for key in ("voxels", "weights"))
    return Entry(row["case_id"], row["split"], row["file"], *sides, *known)


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings that all latents of a folder share.

    Raises:
        DataError: missing or damaged.
    """
    path = check_inside(folder, folder / SETTINGS)
    warn_if_changed(path)
    try:
        return _values(path)
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {SETTINGS}; vae3d encode writes one") from None
    except (OSError, ConfigError) as error:
        raise DataError(f"{path}: cannot be read ({reason_of(error)})") from error


def entry_path(folder: Path, entry: Entry) -> Path:
    """Return the file of a line of the manifest, which is inside of the folder."""
    return check_inside(folder, folder / entry.file)


def read_entry(folder: Path, entry: Entry) -> Latent:
    """Read the latent of a line of the manifest.

    Raises:
        DataError: it is missing, damaged, or that of another case.
    """
    path = entry_path(folder, entry)
    latent = read_latent(path)
    if latent.record.case_id != entry.case_id:
        found, wanted = latent.record.case_id, entry.case_id
        raise DataError(
            f"{path}: is the latent of {found!a:.80}, not of {wanted!a:.80}; encode it again"
        )
    return latent


def cases_of(folder: Path) -> int | None:
    """Return the number of latents that `statistics.json` counts in a folder, None if unknown."""
    try:
        values = _values(folder / STATISTICS)
    except (OSError, ConfigError):
        return None
    measured = values.get(COMPARED, values)
    count = measured.get("cases") if isinstance(measured, dict) else None
    return count if isinstance(count, int) else None


def write_statistics(
    folder: Path,
    summary: dict[str, Any],
    cases: int,
    weights: str = "",
    own: LatentStatistics | None = None,
    encoder: str = "",
) -> str:
    """Write `statistics.json`, and return as text which statistics are the ones to use.

    These are the weights' `own`, so that all folders of latents have the same ones, also after
    cases were added. `summary` is the result of `LatentHealth.summary` over the `cases` of this
    folder, for comparison. It is the one to use if the weights hold none, and in a folder of an
    earlier version, because models may be trained on its latents already. `weights` and
    `encoder` are the fingerprints of the weights that encoded them, and of their encoder. A folder
    that was begun with other weights of this encoder keeps the statistics of those.
    """
    path = folder / STATISTICS
    own, weights = _begun_with(folder, weights, encoder) or (own, weights)
    by = {"weights": weights, **({"encoder": encoder} if encoder else {})}
    here = f"the {counted(cases, 'latent')} of this folder"
    measured = {"cases": cases, **summary}
    if own is None or _is_earlier(path):
        write_json(path, {"of": f"{here}: the ones to use", **by, **measured})
        return f"scaling_factor {_number(summary)}, from {here}: the one to use"
    write_json(
        path,
        {
            "of": f"the weights, from {own.measured_on}: the ones to use",
            **by,
            **own.describe(),
            COMPARED: {"of": f"{here}, for comparison only", **measured},
        },
    )
    return (
        f"{own.text}, in the weights: the ones to use (for comparison, scaling_factor "
        f"{_number(summary)}, from {here})"
    )


def _begun_with(folder: Path, weights: str, encoder: str) -> tuple[LatentStatistics, str] | None:
    """Return statistics and fingerprint of other weights with this encoder that a folder names.

    None if it names none, or has statistics of its own latents alone.
    """
    with contextlib.suppress(OSError, ConfigError, DataError):
        values = _values(folder / STATISTICS)
        has_encoder = encoder != "" and values.get("encoder") == encoder
        if has_encoder and values.get("weights") != weights and COMPARED in values:
            return read_statistics(folder), str(values.get("weights"))
    return None


def _is_earlier(path: Path) -> bool:
    """Whether there are statistics of the folder's latents alone, which keep their meaning."""
    try:
        return COMPARED not in _values(path)
    except (OSError, ConfigError):
        return False


def _number(summary: dict[str, Any]) -> str:
    factor = summary["scaling_factor"]
    return "unknown" if factor is None else f"{factor:.6g}"


def _values(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = from_plain(dict[str, Any], read_json(path), "the file")
    return values


def read_statistics(folder: Path, weights: str = "", encoder: str = "") -> LatentStatistics:
    """Read the statistics that latents are normalised with: the ones to use of `statistics.json`.

    They must be of latents of `weights`, if given, or of their `encoder`. Earlier versions
    recorded no weights; their statistics are of any.

    Raises:
        ConfigError: they are of latents of other weights.
        DataError: missing or damaged.
    """
    path = check_inside(folder, folder / STATISTICS)
    warn_if_changed(path)
    try:
        values = _values(path)
        # The file also holds values that only people read.
        needed = {name: values[name] for name in (*NAMES, "cases") if name in values}
        statistics: LatentStatistics = from_plain(LatentStatistics, needed)
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {STATISTICS}; vae3d encode writes one") from None
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}; run vae3d encode again") from error
    same = bool(encoder) and values.get("encoder") == encoder
    if weights and not same and values.get("weights", "") not in ("", weights):
        raise ConfigError(
            f"{path}: is of latents of other weights; name statistics= of these, or add "
            "allow=[weights]"
        )
    return statistics


def _sides(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split("x"))
