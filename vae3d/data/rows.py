"""`Row` and `Table`: the cells of a list of cases, before its columns are understood."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """The cells of one case by column; `place` is where it is listed, such as `line 3`.

    `stated` is a split that the place itself states, as the section of a datalist does.
    """

    place: str
    cells: dict[str, str]
    stated: str | None = None


@dataclass(frozen=True)
class Table:
    """The columns of a list in their order, and its rows.

    `header` is the number of the header's line, or None if the list has no such line.
    """

    columns: list[str]
    rows: list[Row]
    header: int | None = None
