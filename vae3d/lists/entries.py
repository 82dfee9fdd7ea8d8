"""Lists of cases: CSV, plain JSON, datalists of MONAI and dataset.json of nnU-Net."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vae3d.errors import ConfigError, DataError
from vae3d.files.paths import user_path
from vae3d.lists.columns import all_numbers, find_columns, split_of
from vae3d.lists.rows import Listing, Row, Table
from vae3d.lists.tables import EXPECTED, read_table
from vae3d.runtime.choices import SPLITS
from vae3d.scans.formats import case_name
from vae3d.values.naming import case_id_fault


@dataclass(frozen=True)
class Entry:
    """One scan of a folder or a list.

    `key` is its path below the folder without the suffix; for a file of a list that is elsewhere
    it is the case's name. `split` and `group` are those that a list assigns, and `place` is where
    the list does so, such as `line 3`.
    """

    path: Path
    case_id: str
    key: str
    split: str | None = None
    group: str | None = None
    place: str = ""


def read_list(config: Listing) -> list[Entry]:
    """Read the cases of `data.list`.

    Raises:
        DataError: it is missing or no such list, a column or a value is not understood, a file is
            listed twice, or two cases have one name.
    """
    path = user_path(str(config.list))
    base = user_path(config.root) if config.root else path.parent
    table = read_table(path, config.channel, base)
    if not table.rows:
        raise DataError(f"data.list: no cases in {path}; {EXPECTED}")
    columns = find_columns(table, path, _group_column(config, table))
    _check_folds(table, columns, path)
    entries = [_entry(row, columns, base, path) for row in table.rows]
    _check_all_or_none(entries, columns, path)
    _check_unique(entries, lambda entry: os.path.realpath(entry.path), path, "{1} is listed twice")
    _check_unique(
        entries, lambda entry: entry.case_id, path, "two cases are called {0!r}; set case_id"
    )
    return entries


def _group_column(config: Listing, table: Table) -> str | None:
    """Return the column that `data.group` names, `""` for a pattern, None for the usual names."""
    if config.group is None:
        return None
    if config.group == "subject":
        return "subject" if "subject" in map(str.lower, table.columns) else ""
    return "" if config.group_pattern else config.group


def _check_folds(table: Table, columns: dict[str, str], path: Path) -> None:
    column = columns.get("split")
    if column and all_numbers(row.cells.get(column, "") for row in table.rows):
        raise DataError(
            f"data.list: {path}, column {column!r}: a number is a fold and not a split; add a "
            f"column split with {', '.join(SPLITS)} (val for the fold to validate with) and "
            f"rename {column!r} to {'_' + column!r}"
        )


def _entry(row: Row, columns: dict[str, str], base: Path, path: Path) -> Entry:
    def cell(role: str) -> str:
        return row.cells.get(columns[role], "") if role in columns else ""

    def refuse(role: str, reason: str) -> DataError:
        return DataError(f"data.list: {path}, {row.place}, column {columns[role]!r}: {reason}")

    listed = cell("path")
    if not listed or "\0" in listed:
        raise refuse("path", "expected the path of a scan, got nothing")
    try:
        os.fsencode(listed)
    except UnicodeEncodeError:
        raise refuse("path", f"{listed!a:.80} is no name that a file can have") from None
    if "group" in columns and not cell("group"):
        raise refuse("group", "expected the group (patient) of the case, got nothing")
    if "split" in columns and row.stated:
        raise refuse("split", f"{row.place} states a split already; rename the key to _split")
    split = split_of(cell("split")) if cell("split") else row.stated
    if cell("split") and split is None:
        raise refuse("split", f"{_SPLIT_RULE}, got {cell('split')!r}")
    try:
        relative = user_path(listed)
    except ConfigError as error:
        raise refuse("path", str(error)) from error
    local = Path(relative.name) if relative.is_absolute() else relative
    case_id = cell("case_id") or case_name(local)
    if fault := case_id_fault(case_id):
        role = "case_id" if cell("case_id") else "path"
        way = "change it" if role == "case_id" else "name the case in a column case_id"
        raise refuse(role, f"the name {fault}; {way}")
    if fault := case_id_fault(cell("group")):
        raise refuse("group", f"the name {fault}; change it")
    return Entry(
        path=base / relative,
        case_id=case_id,
        key=_key(relative, base) or case_id,
        split=split,
        group=cell("group") or None,
        place=row.place,
    )


_SPLIT_RULE = f"split must be one of {', '.join(SPLITS)} for every case of the list or for none"


def _key(path: Path, base: Path) -> str | None:
    """Return a listed path below the folder `base` without suffix, None if it is elsewhere."""
    if path.is_absolute():
        absolute = base.absolute()
        if not path.is_relative_to(absolute):
            return None
        path = path.relative_to(absolute)
    return case_name(Path(os.path.normpath(path)))


def _check_all_or_none(entries: list[Entry], columns: dict[str, str], path: Path) -> None:
    missing = next((entry for entry in entries if entry.split is None), None)
    if missing and any(entry.split for entry in entries):
        column = columns.get("split", "split")
        raise DataError(
            f"data.list: {path}, {missing.place}, column {column!r}: {_SPLIT_RULE}, got nothing"
        )


def _check_unique(
    entries: list[Entry], name: Callable[[Entry], str], path: Path, reason: str
) -> None:
    """Raise a DataError that names both places if two entries have the same name."""
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(name(entry), entry)
        if other is not entry:
            told = reason.format(name(entry), entry.path)
            splits = f" ({other.split} and {entry.split})" if entry.split else ""
            raise DataError(f"data.list: {path}, {other.place} and {entry.place}: {told}{splits}")
