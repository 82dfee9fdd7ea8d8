"""The rows of a metrics.csv that may be damaged, and what a checkpoint knows of it."""

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError
from vae3d.files.aside import copy_aside, put_aside
from vae3d.files.plain import from_plain
from vae3d.files.reading import read_bytes
from vae3d.runtime.messages import counted

FIRST_COLUMNS = ("step", "epoch", "split")
SPLITS = ("train", "val")
MAX_BYTES = 2**30
MAX_NAMED_LINES = 6

Row = dict[str, str]


@dataclass(frozen=True)
class Written:
    """What was written to a metrics.csv so far; each checkpoint records it."""

    rows: int
    size: int
    sha256: str

    @classmethod
    def of(cls, value: Any) -> "Written | None":
        """Return what a checkpoint has recorded; None for those of earlier versions."""
        try:
            written: Written | None = from_plain(cls | None, value)
        except (ConfigError, TypeError):
            return None
        return written

    def begins(self, data: bytes) -> bool:
        """Return whether the bytes of a file begin with exactly what was written."""
        if len(data) < self.size:
            return False
        return hashlib.sha256(data[: self.size]).hexdigest() == self.sha256


@dataclass
class Recovered:
    """The rows of a file up to a step; `problem` says in one line what is wrong with it."""

    columns: Sequence[str] = ()
    rows: list[Row] = field(default_factory=list)
    bad: list[int] = field(default_factory=list)
    problem: str = ""


def recover(path: Path, step: int, written: Written | None) -> Recovered:
    """Read the rows up to `step`. If they are not those that were `written`, keep what is whole.

    A damaged file is kept under another name, and so is anything else in its place. A last line
    that was cut off is what a kill leaves, and is no problem if all that was `written` is there.
    """
    if not os.path.lexists(path):
        missing = step and written and written.rows
        return Recovered(problem=f"{path}: is missing; {_lost(written, 0)}" if missing else "")
    try:
        data = read_bytes(path, MAX_BYTES)
    except OSError as error:
        reason = f"{path}: {error.strerror}; {_lost(written, 0)}, it is now {put_aside(path).name}"
        return Recovered(problem=reason)
    if written and written.begins(data):
        return _parsed(data[: written.size], step)
    found = _parsed(data, step)
    if step and (written or found.bad):
        reason = f"{path}: {_damage(found, written)}"
        found.problem = f"{reason}; the file as it was is {copy_aside(path).name}"
    return found


def _parsed(data: bytes, step: int) -> Recovered:
    lines = data.split(b"\n")
    head, *body = lines[:-1] or [b""]
    columns = [*_cells(head)]
    if tuple(columns[:3]) != FIRST_COLUMNS or len({*columns}) < len(columns):
        return Recovered(bad=[1] if data else [])
    found = Recovered(columns)
    for number, line in enumerate(body, start=2):
        row = dict(zip(columns, _cells(line), strict=False))
        if len(row) < len(columns) or line.count(b",") >= len(columns) or not _is_whole(row):
            found.bad.append(number)
        elif int(row["step"]) <= step:
            found.rows.append(row)
    return found


def _cells(line: bytes) -> list[str]:
    try:
        return next(csv.reader([line.decode()]), [])
    except (UnicodeDecodeError, csv.Error):
        return []


def _is_whole(row: Mapping[str, str]) -> bool:
    step = row["step"]
    if not (step.isascii() and step.isdigit() and len(step) < 19) or row["split"] not in SPLITS:
        return False
    try:
        for name, cell in row.items():
            if name != "split" and cell:
                float(cell)
    except ValueError:
        return False
    return True


def _damage(found: Recovered, written: Written | None) -> str:
    lines = ", ".join(map(str, found.bad[:MAX_NAMED_LINES]))
    more = f" and {len(found.bad) - MAX_NAMED_LINES} more" if found.bad[MAX_NAMED_LINES:] else ""
    dropped = f"{'line' if len(found.bad) == 1 else 'lines'} {lines}{more} dropped as damaged"
    if written is None:
        return dropped
    if len(found.rows) == written.rows and not found.bad:
        return "was changed after it was written; its rows are kept as they are now"
    return f"{_lost(written, len(found.rows))}{f' ({dropped})' if found.bad else ''}"


def _lost(written: Written | None, kept: int) -> str:
    if written is None:
        return "its rows are lost"
    lost = written.rows - kept
    if lost < 0:
        return f"{counted(-lost, 'row')} more than were written"
    return f"{lost} of {counted(written.rows, 'row')} {'is' if lost == 1 else 'are'} lost"
