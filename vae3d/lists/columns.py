"""The columns of a list of cases: which of them hold the path, the split, the name, the group."""

import logging
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from vae3d.errors import DataError
from vae3d.lists.rows import Table
from vae3d.scans.formats import is_scan

log = logging.getLogger(__name__)

COLUMNS = {
    "path": (
        "path paths image images img file files filename filepath imagepath imgpath imagefile "
        "imagefilename imgfile volume volumepath vol scan scans scanpath nifti niftipath niftifile"
    ),
    "split": "split splits subset fold folds set partition datasplit stage usage",
    "case_id": "caseid id case cases name caseids casename scanid imageid scanname imagename uid",
    "group": (
        "group groups subject subjects subjectid subjectids patient patients patientid patientids "
        "participant participantid pid mrn"
    ),
}
"""The roles of columns and their usual names, without case, spaces and punctuation."""
ROLE_OF = {word: role for role, words in COLUMNS.items() for word in words.split()}
SPLIT_WORDS = {
    word: split
    for split, words in {
        "train": "train training trn tr",
        "val": "val valid validation validate dev vl",
        "test": "test testing tst ts",
    }.items()
    for word in words.split()
}
"""The usual words for a split."""
_UNUSED = (
    "age sex gender weight height bmi race ethnicity diagnosis dx grade outcome site center "
    "centre hospital scanner manufacturer vendor model modality sequence contrast protocol label "
    "labels mask masks seg segmentation annotation target class category date scandate studydate "
    "comment comments note notes shape spacing license licence source dataset"
)
UNUSED = frozenset(_UNUSED.split())
"""Columns that hold no path, split, name or group; they are left out, which is logged."""
ADVICE = "put _ before its name to leave it out"


def squash(name: str) -> str:
    """Return a name in lower case without spaces and punctuation: `caseid` of `Case ID`."""
    return re.sub(r"[\W_]+", "", name.lower())


def find_columns(table: Table, path: Path, group: str | None) -> dict[str, str]:
    """Return the columns of a list by role: path, and where they exist split, case_id and group.

    `group` is the name of the column of groups, `""` if no column is to be used, or None for the
    usual names.

    Raises:
        DataError: there is no path, a column is unknown, or two columns have one role.
    """
    if table.header is not None and any(map(is_scan, table.columns)):
        raise DataError(
            f"data.list: {_header(table, path)}: there is no header; put a line such as "
            "path,split above the scans"
        )
    found: dict[str, str] = {}
    unused: list[str] = []
    chosen = _chosen(table, path, group)
    for number, column in enumerate(table.columns, 1):
        role = None if column.startswith("_") else ROLE_OF.get(squash(column))
        if role == "group" and group is not None:
            role = None if column != chosen else role
            unused += [column] * (column != chosen)
        elif role is None and column != chosen:
            _check_unused(column, number, table, path)
            unused.append(column)
        if role in found:
            raise DataError(
                f"data.list: {_header(table, path)}: the columns {found[role]!r} and {column!r} "
                f"both hold the {role}; keep one and put _ before the name of the other"
            )
        if role:
            found[role] = column
    if "path" not in found:
        raise DataError(_no_path(table, path))
    if unused:
        names = ", ".join(repr(name) for name in unused)
        log.info(f"data.list: {path}: not used: {names}")
    return found if chosen is None else {**found, "group": chosen}


def split_of(value: str) -> str | None:
    """Return train, val or test for one of the usual words for it in any case, else None."""
    return SPLIT_WORDS.get(value.strip().lower())


def _chosen(table: Table, path: Path, group: str | None) -> str | None:
    """Return the column that `data.group` names."""
    if not group:
        return None
    same = [column for column in table.columns if squash(column) == squash(group)]
    exact = [column for column in same if column == group] or same
    if exact:
        return exact[0]
    columns = ", ".join(column for column in table.columns if column)
    raise DataError(
        f"data.group={group}: {path} has no such column, choose from {columns}; or give a pattern "
        "such as data.group='^([^/]+)/', or '^(.*)$' for no groups"
    )


def _check_unused(column: str, number: int, table: Table, path: Path) -> None:
    """Raise a DataError if a column that has no role may not be left out."""
    if column.startswith("_"):
        return
    values = [row.cells.get(column, "") for row in table.rows]
    if not column or re.fullmatch(r"Unnamed: \d+", column):
        _check_nameless(values, number, table, path)
    elif squash(column) not in UNUSED:
        raise DataError(
            f"data.list: {_header(table, path)}: unknown column {column!r}{_hint(column)}; "
            f"{ADVICE}"
        )
    elif any(values) and all(split_of(value) for value in values if value):
        raise DataError(
            f"data.list: {_header(table, path)}: the column {column!r} holds splits; rename it to "
            f"split, or {ADVICE}"
        )


def _check_nameless(values: list[str], number: int, table: Table, path: Path) -> None:
    counted = [str(index) for index in range(len(values) + 1)]
    if any(values) and values not in (counted[:-1], counted[1:]):
        raise DataError(
            f"data.list: {_header(table, path)}: column {number} has no name; "
            "expected path, split, case_id or group"
        )


def _hint(column: str) -> str:
    near = get_close_matches(squash(column), ROLE_OF, 1)
    expected = "expected path, split, case_id or group"
    return f", did you mean {ROLE_OF[near[0]]!r}?" if near else f" ({expected})"


def _no_path(table: Table, path: Path) -> str:
    columns = ", ".join(repr(column) for column in table.columns)
    return (
        f"data.list: {_header(table, path)}: no column holds the paths of the scans; expected "
        f"path (or image, file, filename), got {columns}"
    )


def _header(table: Table, path: Path) -> str:
    return f"{path}" if table.header is None else f"{path}, line {table.header}"


def all_numbers(values: Iterable[str]) -> bool:
    """Return whether there are values and each is a whole number, as the folds 0 to 4 are."""
    given = [value for value in values if value]
    return bool(given) and all(re.fullmatch(r"-?\d+(\.0+)?", value) for value in given)
