"""`Labels`: what a CSV states of each case, such as a diagnosis or an age, and its patient."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import DataError
from vae3d.lists.columns import ROLE_OF, squash
from vae3d.lists.rows import Table
from vae3d.lists.tables import read_csv
from vae3d.runtime.messages import counted
from vae3d.scans.formats import case_name

log = logging.getLogger(__name__)

MAX_NAMED = 5
"""Cases that a message names."""
MISSING = frozenset({"", "nan", "na", "n/a", "none", "null", "?"})
"""Cells that hold no label, in lower case."""


@dataclass(frozen=True)
class Labels:
    """The labels of cases by case id, without those whose cell is empty.

    `column` is their name in the file at `path`. `groups` are patients by case id, empty if the
    file has no such column.
    """

    path: Path
    column: str
    texts: dict[str, str]
    groups: dict[str, str]

    @property
    def are_numbers(self) -> bool:
        """Whether every label is a finite number."""
        return bool(self.texts) and all(map(is_number, self.texts.values()))

    def values(self) -> tuple[dict[str, int | float], list[str]]:
        """Return the labels as numbers by case id, and the names of the classes if they are text.

        Text becomes the number of its class, in the order of their names. Whole numbers stay
        whole.
        """
        if self.are_numbers:
            whole = all(float(text).is_integer() for text in self.texts.values())
            convert = (lambda text: int(float(text))) if whole else float
            return {case: convert(text) for case, text in self.texts.items()}, []
        classes = sorted({*self.texts.values()})
        return {case: classes.index(text) for case, text in self.texts.items()}, classes

    def joined(self, cases: Sequence[str]) -> list[int]:
        """Return the places of the cases that have a label; others are counted and named.

        Raises:
            DataError: no case has one.
        """
        known = [place for place, case in enumerate(cases) if case in self.texts]
        without = [case for case in cases if case not in self.texts]
        unknown = sorted({*self.texts} - {*cases})
        if not known:
            raise DataError(
                f"labels: {self.path}: no case has a label; the file names {named(unknown)}, the "
                f"latents are of {named(cases)}"
            )
        if without:
            log.warning(
                f"labels: {len(without)} of {counted(len(cases))} have no {self.column!r} in "
                f"{self.path} and are left out: {named(without)}"
            )
        if unknown:
            log.warning(
                f"labels: {counted(len(unknown), 'row')} of {self.path} of no case: "
                f"{named(unknown)}{_suffix_hint(unknown, cases)}"
            )
        return known


def read_labels(path: Path, label: str | None = None, group: str | None = None) -> Labels:
    """Read a CSV with a row per case: its name, one or more labels, and optionally its patient.

    `label` is the column of the labels, by default the only one there is; `group` that of the
    patients, by default one with a usual name (patient, subject, group).

    Raises:
        DataError: it cannot be read, a column is missing, or a case is listed twice.
    """
    table = read_csv(path, "labels")
    case_column = _case_column(table, path)
    group_column = _column(table, path, "group", group) if group else _by_role(table, "group")
    label_column = (
        _column(table, path, "label", label)
        if label
        else _only_label(table, path, {case_column, group_column})
    )
    if label_column == case_column:
        raise DataError(f"label={label}: is the column of the cases in {path}")
    places: dict[str, str] = {}
    for row in table.rows:
        case = row.cells[case_column]
        if not case:
            raise DataError(f"labels: {path}, {row.place}: has no case in {case_column!r}")
        if case in places:
            raise DataError(
                f"labels: {path}, {row.place}: case {case!r} is listed twice, first in "
                f"{places[case]}; keep one row"
            )
        places[case] = row.place
    texts = {row.cells[case_column]: row.cells[label_column] for row in table.rows}
    groups = (
        {row.cells[case_column]: row.cells[group_column] for row in table.rows}
        if (group_column)
        else {}
    )
    present = {case: text for case, text in texts.items() if text.lower() not in MISSING}
    return Labels(path, label_column, present, groups)


def is_number(text: str) -> bool:
    """Return whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def named(cases: Sequence[str]) -> str:
    """Return the first cases as text, and how many more there are."""
    more = len(cases) - MAX_NAMED
    return ", ".join(map(repr, cases[:MAX_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def _case_column(table: Table, path: Path) -> str:
    found = [column for column in table.columns if ROLE_OF.get(squash(column)) == "case_id"]
    # A file may name its cases twice: `case_id` is what vae3d calls them.
    exact = [column for column in found if squash(column) == "caseid"] or found
    if len(exact) != 1:
        columns = ", ".join(filter(None, table.columns))
        what = "no column names the cases" if not exact else f"{named(exact)} both name the cases"
        raise DataError(f"labels: {path}: {what}; expected one called case_id, got {columns}")
    return exact[0]


def _by_role(table: Table, role: str) -> str | None:
    found = [column for column in table.columns if ROLE_OF.get(squash(column)) == role]
    return found[0] if len(found) == 1 else None


def _column(table: Table, path: Path, key: str, name: str) -> str:
    same = [column for column in table.columns if squash(column) == squash(name)]
    exact = [column for column in same if column == name] or same
    if exact:
        return exact[0]
    columns = ", ".join(filter(None, table.columns))
    raise DataError(f"{key}={name}: {path} has no such column, choose from {columns}")


def _only_label(table: Table, path: Path, others: set[str | None]) -> str:
    columns = [c for c in table.columns if c and c not in others and not c.startswith("_")]
    if len(columns) == 1:
        return columns[0]
    what = f"set label= to one of {', '.join(columns)}" if columns else "it has no other column"
    raise DataError(f"labels: {path}: which column holds the labels is not clear; {what}")


def _suffix_hint(unknown: Sequence[str], cases: Sequence[str]) -> str:
    """Return what to type if only the suffixes of files keep names from fitting."""
    fitting = [name for name in unknown if case_name(Path(name)) in {*cases}]
    if not fitting:
        return ""
    short = case_name(Path(fitting[0]))
    return f"; names of cases have no suffix: write {short!r} for {fitting[0]!r}"
